"""Passages for prompts that bring their own text. Every task that needs a passage draws from the same genres.

A genre is (domain level, sentences, questions a reader could answer from such a passage); a passage is a few of
the sentences in order.
"""
# fmt: off
# ruff: noqa: E501 (lists of phrases, not code)

from __future__ import annotations

from typing import NamedTuple


class Genre(NamedTuple):
    name: str
    domain: str
    sentences: tuple[str, ...]
    questions: tuple[str, ...]


GENRES: tuple[Genre, ...] = (
    Genre("article", "Low", (
        "{company} opened a new office in {place} {date}, creating about {number} jobs.",
        "Residents of {place} gathered {date} to celebrate the reopening of the old market hall.",
        "The project cost {amount} and took almost {small} years to finish.",
        "\"We are proud of what the team has done,\" said {person}, who leads the programme.",
        "Local shops expect more visitors in the coming months, although parking remains a problem.",
        "Critics say that the plan ignores the needs of older people.",
        "A spokesperson for the city of {place} declined to comment.",
        "Officials will publish a full report {date}.",
        "Schools stayed closed after heavy snow fell on {place} and the surrounding villages.",
        "More than {number} volunteers helped to clear the roads.",
        "The mayor, {person}, thanked everyone and promised {amount} for repairs.",
    ), (
        "How many people were involved?", "Who leads the programme?", "Where did it take place?",
        "How much did the project cost?", "When did this happen?", "What do critics say?",
        "Who thanked everyone?", "What will officials publish?",
    )),
    Genre("report", "Medium", (
        "{company} reported revenue of {amount} for the third quarter, up {small} percent from a year ago.",
        "Operating margin fell slightly because of higher shipping and energy costs.",
        "Chief executive {person} said that demand in {country} stayed strong.",
        "The board approved a dividend of {small} cents a share, payable {date}.",
        "Analysts had expected slower growth in the subscription business.",
        "The company plans to hire {number} engineers and to close two warehouses in {place}.",
        "Shares rose {small} percent in early trading.",
        "Management warned that inflation could weigh on consumer spending next year.",
        "Net debt decreased to {amount}, helped by the sale of the logistics unit.",
    ), (
        "What was the revenue in the third quarter?", "Why did the operating margin fall?",
        "Who is the chief executive?", "How many engineers will be hired?", "When is the dividend payable?",
        "Which unit was sold?", "By how much did the shares rise?",
    )),
    Genre("passage", "Medium", (
        "The Amazon rainforest covers much of northwestern Brazil and extends into {country} and other countries.",
        "It is the largest tropical rainforest in the world and is crossed by thousands of rivers.",
        "The Great Wall was built over many centuries to protect the northern borders.",
        "Bees communicate the direction of food with a dance that other workers follow in the dark hive.",
        "In {year}, {famous} moved to {place} and began the work for which we remember that name today.",
        "Steam engines changed how goods were made and moved, and cities grew quickly around factories.",
        "Water expands when it freezes, which is why ice floats and why pipes burst in winter.",
        "The Moon is about 384,000 kilometres from the Earth and always shows us the same side.",
        "Coral reefs support a quarter of all marine species although they cover less than one percent of the sea.",
        "The treaty was signed in {year} in {place} and ended a war that had lasted {small} years.",
        "Volcanoes form where molten rock reaches the surface, often along the edges of plates.",
    ), (
        "Where was the treaty signed?", "Why does ice float on water?", "How do bees communicate?",
        "How far away is the Moon?", "What is the largest tropical rainforest?", "When was the treaty signed?",
        "What do coral reefs support?", "Why did cities grow quickly?", "Which country is mentioned?",
    )),
    Genre("abstract", "High", (
        "We propose a variational method for inference in hierarchical latent variable models.",
        "Patients with metastatic carcinoma were randomised to receive the inhibitor or placebo.",
        "The primary endpoint was progression-free survival at {small} months; the hazard ratio was 0.{number}.",
        "Our estimator attains the minimax rate up to logarithmic factors under weak moment assumptions.",
        "In vitro assays confirmed that the ligand binds the receptor with nanomolar affinity.",
        "The perturbation expansion diverges near the critical temperature, and we resum it numerically.",
        "Adverse events of grade three or higher occurred in {small} percent of the treatment arm.",
        "Ablation studies show that the gain stems from the attention bias rather than from model size.",
        "Spectral analysis of the graph Laplacian reveals {small} well separated clusters.",
        "Gene expression was quantified by RNA sequencing of {number} tissue samples.",
        "These findings suggest a causal role of the mutation in cardiac arrhythmia.",
    ), (
        "What was the primary endpoint?", "How were patients randomised?", "What does the ablation study show?",
        "How many clusters does the analysis reveal?", "How was gene expression quantified?",
        "What is the rate of the estimator?", "Which role does the mutation play?",
    )),
    Genre("contract", "High", (
        "The Tenant shall pay a monthly rent of {amount}, due on the first day of each calendar month.",
        "Either party may terminate this Agreement upon {number} days' prior written notice.",
        "The Licensor grants a non-exclusive, non-transferable licence within {country}.",
        "Neither party shall be liable for indirect or consequential damages arising from a breach.",
        "This Agreement is governed by the laws of {country}, and the courts of {place} have jurisdiction.",
        "The Receiving Party shall keep all Confidential Information secret for {small} years after termination.",
        "{company} shall indemnify the Client against all claims brought by third parties.",
        "Any amendment must be made in writing and signed by both parties.",
    ), (
        "How much is the monthly rent?", "How many days of notice are required?", "Which law governs the agreement?",
        "Who has to indemnify the client?", "For how long must information be kept secret?",
        "Which courts have jurisdiction?",
    )),
    Genre("email", "Low", (
        "Hi {person},", "thanks for the call {date}.",
        "I have attached the revised schedule and the list of guests.",
        "Could you please confirm that the room in {place} is booked for {number} people?",
        "The caterer needs our answer before noon and asks for a deposit of {amount}.",
        "I am out of the office {date}, but {person} can help with any question.",
        "We also still need a projector and two microphones.",
        "Sorry for the short notice, and let me know if something is unclear.",
        "Best regards, {person}", "Our train to {place} leaves at {small} in the morning.",
    ), (
        "How many people is the room for?", "Who can help with questions?", "How large is the deposit?",
        "What does the caterer need?", "What was attached?", "When is the sender out of the office?",
    )),
    Genre("meeting notes", "Medium", (
        "{person} presented the new pricing and asked the sales team for feedback by {date}.",
        "{person}: the migration of the billing database is two weeks late.",
        "Decision: keep the old login page until the end of the quarter.",
        "The support team received {number} tickets last week, most of them about invoices.",
        "Action: {person} to write the test plan and share it with {company}.",
        "{person} raised concerns about the budget of {amount} for the fair in {place}.",
        "Everyone agreed to move the weekly call to {small} o'clock.",
        "Open question: who owns the onboarding guide?",
    ), (
        "What was decided about the login page?", "Who writes the test plan?", "Which migration is late?",
        "How many tickets did the support team receive?", "What is the open question?",
    )),
    Genre("review", "No", (
        "I bought this for my sister and she loves it.", "The battery lasted only {small} hours.",
        "Delivery to {place} was quick and the box was intact.", "The waiter forgot our drinks twice.",
        "Great value for {amount}, I would buy it again.", "The sound is thin and the case feels cheap.",
        "We stayed for {small} nights and the beds were very comfortable.",
        "The acting was wonderful, but the ending made no sense.", "Customer service never answered my emails.",
        "The soup was cold and the music far too loud.", "Easy to set up, even for my father.",
        "It broke after {small} weeks.",
    ), (
        "What did the reviewer like?", "How long did the battery last?", "Would the reviewer buy it again?",
        "What was wrong with the soup?", "How was the delivery?",
    )),
    Genre("story", "No", (
        "Once upon a time a small fox lived behind the mill near {place}.",
        "{person} woke before sunrise and packed an apple, a map and a blue scarf.",
        "Nobody in the village had seen the stranger arrive.",
        "The rain had stopped, and the street smelled of wet leaves.",
        "\"You should not have come back,\" the old woman whispered.",
        "She counted {small} steps to the door and held her breath.",
        "In the drawer lay a letter with no name on it.",
        "At last the boat drifted out into the fog, and the lights of {place} vanished.",
        "The dog waited at the gate every evening for {small} years.",
    ), (
        "Where did the fox live?", "What did the traveller pack?", "What lay in the drawer?",
        "How long did the dog wait?", "What did the old woman whisper?",
    )),
    Genre("clinical note", "High", (
        "The patient, a {number}-year-old man, presented with acute chest pain radiating to the left arm.",
        "Blood pressure was 150/95 and the electrocardiogram showed ST elevation.",
        "Troponin was elevated, and aspirin 300 mg was administered {date}.",
        "The patient has a history of type 2 diabetes and takes metformin {small}00 mg twice daily.",
        "Dr. {person} recommended coronary angiography.",
        "No known allergies; renal function is mildly impaired.",
        "Discharged after {small} days with beta blockers and a statin.",
        "Follow-up with cardiology in {place} was arranged.",
    ), (
        "Which medication was administered?", "What did the electrocardiogram show?",
        "Who recommended the angiography?", "Does the patient have allergies?", "What is the patient's history?",
    )),
)

FACTS: tuple[tuple[str, str], ...] = (
    ("The Eiffel Tower was built in {year} by a company from {place}.", "When was the Eiffel Tower built?"),
    ("{company} was founded by {person} and {person2} in {year} in a garage in {place}.", "Who founded the company?"),
    ("{person} went to the market and bought {small} oranges and a loaf of bread.", "What did {person} buy?"),
    ("The museum in {place} opens at {small} and closes at six. Children pay nothing.", "When does the museum open?"),
    ("{person} was born in {place} in {year}, studied law and later became a painter.", "Where was {person} born?"),
    ("The train leaves {place} at noon and reaches {place2} {small} hours later.", "How long does the journey take?"),
    ("Water boils at 100 degrees at sea level, and at a lower temperature in the mountains.", "At what temperature does water boil at sea level?"),
    ("The ticket costs {amount}, but students pay half.", "How much is a ticket?"),
    ("{person} lives with {small} cats in a small flat near the station in {place}.", "How many cats does {person} have?"),
    ("The war began in {year} and lasted {small} years. {country} lost two provinces.", "How long did the war last?"),
    ("Mice are active at night. They eat seeds, fruit and sometimes insects.", "What do mice eat?"),
    ("The manager of {company}, {person}, said that {number} people would be hired {date}.", "Who is the manager?"),
    ("{country} won the match two to one after {person} scored in the last minute.", "Which country won the match?"),
    ("The bridge is {number} metres long and was opened {date} by {person}.", "How long is the bridge?"),
    ("Because the road was closed, {person} arrived {small} hours late in {place}.", "Why was {person} late?"),
    ("The book was written by {famous} in {year} and has {number} pages.", "Who wrote the book?"),
)
"""Small passages, each with a question that it answers."""
