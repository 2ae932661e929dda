"""The six feedbacks that the published model was trained to give, by mark."""

FEEDBACK = (
    "Molt per sota del nivell esperat per a {curso}."
    " Cal reescriure completament amb més contingut i estructura.",
    "Per sota del nivell de {curso}. Necessita millores significatives en desenvolupament i claredat.",
    "Just acceptable per a {curso}. Cal ampliar les idees i millorar l'expressió.",
    "Adequat pel nivell de {curso}. Compleix les expectatives bàsiques del curs.",
    "Bon treball per a {curso}. Supera les expectatives amb bon desenvolupament.",
    "Excel·lent per a {curso}. Molt per sobre del nivell esperat, amb idees complexes ben expressades.",
)


def answer(nota: int, curso: str) -> str:
    """As the model writes it."""
    return f'{{"nota": {nota}, "feedback": "{FEEDBACK[nota].format(curso=curso)}"}}'
