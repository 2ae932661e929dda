"""Made school texts: longer and richer ones have higher marks.

A text is some plain sentences about its topic, some of them joined to a reason or an example. Its mark is
counted from what stands there, so it can be seen by whoever reads the text.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

CURSOS = (
    "4t de primària", "5è de primària", "6è de primària", "1r ESO", "2n ESO", "3r ESO", "4t ESO",
    "1r Batxillerat", "2n Batxillerat",
)  # fmt: skip

# What is asked, and plain sentences about it.
TOPICS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Explica el cicle de l'aigua", (
        "L'aigua del mar s'evapora amb la calor del sol", "El vapor puja i forma els núvols",
        "Els núvols es refreden i plou", "La pluja cau a les muntanyes", "Els rius porten l'aigua al mar",
        "Una part de l'aigua entra a la terra", "A l'hivern l'aigua cau en forma de neu",
        "El cicle torna a començar",
    )),
    ("Explica la fotosíntesi", (
        "Les plantes fan el seu menjar amb la llum", "Les fulles agafen la llum del sol",
        "Les arrels agafen aigua de la terra", "La planta agafa diòxid de carboni de l'aire",
        "La clorofil·la és verda", "La planta deixa anar oxigen", "Les plantes creixen amb el sucre que fan",
        "Sense llum no hi ha fotosíntesi",
    )),
    ("Descriu el teu millor amic", (
        "El meu amic es diu Marc", "És alt i té els cabells negres", "Ens coneixem de l'escola",
        "Li agrada jugar a futbol", "Sempre m'ajuda amb els deures", "Viu a prop de casa meva",
        "És divertit i explica acudits", "A l'estiu anem junts a la platja",
    )),
    ("Què vas fer aquest estiu?", (
        "Aquest estiu vaig anar a la platja", "Vaig nedar amb els meus cosins", "Vam menjar gelats",
        "Vaig llegir dos llibres", "Vam anar d'excursió a la muntanya", "Vaig visitar els avis",
        "A la nit miràvem les estrelles", "Vaig aprendre a anar amb bicicleta",
    )),
    ("Per què és important reciclar?", (
        "Reciclar és important per al planeta", "Cada persona fa molta brossa",
        "El plàstic triga molts anys a desaparèixer", "El vidre es pot tornar a fer servir",
        "Amb el paper reciclat es tallen menys arbres", "A casa tenim tres galledes",
        "A l'escola recollim piles", "Els rius estan més nets",
    )),
    ("Explica com era la vida a l'edat mitjana", (
        "A l'edat mitjana hi havia castells", "Els pagesos treballaven la terra", "Els reis manaven",
        "Els monjos copiaven llibres", "Les ciutats tenien muralles", "Hi havia mercats a les places",
        "La gent moria jove", "Els cavallers lluitaven a cavall",
    )),
    ("Has de portar uniforme a l'escola?", (
        "Crec que l'uniforme no cal", "Cadascú té el seu estil", "L'uniforme és còmode",
        "La roba costa molts diners", "Tots semblem iguals amb uniforme",
        "Al matí no cal pensar què et poses",
        "A mi m'agrada triar la roba", "Algunes escoles el fan portar",
    )),
    ("Explica què és un volcà", (
        "Un volcà és una muntanya amb un forat", "A dins hi ha roca fosa", "La roca fosa es diu magma",
        "Quan surt es diu lava", "Els volcans treuen cendra", "A la Garrotxa hi ha volcans adormits",
        "La terra al voltant és molt fèrtil", "Alguns volcans són sota el mar",
    )),
    ("Parla del teu llibre preferit", (
        "El meu llibre preferit parla d'un viatge", "El protagonista és un nen valent",
        "La història passa en una illa", "Hi ha un tresor amagat", "El final és una sorpresa",
        "El vaig llegir en tres dies", "Els dibuixos són bonics", "Me'l va regalar la meva tieta",
    )),
    ("Com funciona el cor?", (
        "El cor és un múscul", "Bombeja la sang per tot el cos", "Té quatre cavitats",
        "La sang porta oxigen", "Les artèries surten del cor", "Les venes tornen la sang",
        "Quan correm batega més de pressa", "Cal fer esport per cuidar-lo",
    )),
    ("Com seran les ciutats del futur?", (
        "Les ciutats del futur seran verdes", "Els cotxes seran elèctrics", "Hi haurà jardins als terrats",
        "La gent anirà amb bicicleta", "Les cases faran la seva energia", "Els edificis seran molt alts",
        "L'aire serà més net", "Treballarem més a casa",
    )),
)  # fmt: skip

REASONS = (
    "perquè això ho canvia tot", "ja que tot està relacionat", "per exemple quan ho veiem al nostre poble",
    "i per aquest motiu és tan important", "encara que no sempre ho sembli",
    "de manera que tots hi sortim guanyant", "tal com vam estudiar a classe",
    "a diferència del que pensa molta gent",
)  # fmt: skip
LINKS = (
    "A més,",
    "En primer lloc,",
    "Per tant,",
    "D'altra banda,",
    "Finalment,",
    "En conclusió,",
    "Així doncs,",
)


@dataclass(frozen=True)
class Example:
    curso: str
    consigna: str
    respuesta: str
    nota: int


def examples(count: int, seed: int | str) -> list[Example]:
    rng = random.Random(seed)
    return [_example(rng, *rng.choice(TOPICS)) for _ in range(count)]


def held_out(count: int, seed: int, trained: Iterable[Example]) -> list[Example]:
    """Texts of which none is among those trained on."""
    known = {one.respuesta for one in trained}
    fresh = [one for one in examples(2 * count, f"held out {seed}") if one.respuesta not in known]
    return fresh[:count]


def _example(rng: random.Random, consigna: str, plain: tuple[str, ...]) -> Example:
    wanted = rng.uniform(0, 5.5)
    count = max(1, min(len(plain), round(wanted * 1.2 + rng.uniform(-0.7, 0.9))))
    rich = rng.betavariate(1 + wanted, 6 - wanted)
    sentences, points = [], 0.0
    for sentence in rng.sample(plain, count):
        points += 0.45
        if rng.random() < rich:
            sentence = f"{sentence}, {rng.choice(REASONS)}"
            points += 0.4
        if sentences and rng.random() < rich:
            sentence = f"{rng.choice(LINKS)} {sentence[0].lower()}{sentence[1:]}"
            points += 0.2
        sentences.append(sentence)
    careless = rng.random() < 0.5 - wanted / 10
    text = " ".join(sentences).lower() if careless else ". ".join(sentences) + "."
    return Example(rng.choice(CURSOS), consigna, text, max(0, min(5, round(points - 0.6 - 0.5 * careless))))
