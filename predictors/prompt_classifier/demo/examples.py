"""Worked examples (few shots): kinds of input/output pairs and the layouts they are written in."""
# fmt: off
# ruff: noqa: E501 (lists of phrases, not code)

from __future__ import annotations

from typing import NamedTuple


class LabelSet(NamedTuple):
    """One classification problem, so that its request and its examples speak of the same thing."""

    kind: str
    thing: str
    items: tuple[tuple[str, str], ...]


LABEL_SETS: tuple[LabelSet, ...] = (
    LabelSet("sentiment", "review", (
        ("I loved every minute of it.", "positive"), ("The room was dirty and the staff rude.", "negative"),
        ("It arrived on Monday.", "neutral"), ("Best purchase I have made this year!", "positive"),
        ("Total waste of money.", "negative"), ("The phone is black and weighs 180 grams.", "neutral"),
        ("The food was amazing and the view even better.", "positive"), ("I want my money back.", "negative"),
        ("The movie was boring and far too long.", "negative"), ("I am very happy with this jacket.", "positive"),
    )),
    LabelSet("spam", "email", (
        ("You have won a free cruise, click here now!!!", "spam"), ("Lunch at twelve tomorrow?", "not spam"),
        ("Cheap pills without prescription", "spam"), ("The minutes of today's call are attached.", "not spam"),
        ("Your account will be closed unless you send your password", "spam"), ("Happy birthday, {person}!", "not spam"),
    )),
    LabelSet("topic", "headline", (
        ("{company} beats profit forecast", "business"), ("Late goal sends {country} to the final", "sports"),
        ("New telescope spots distant galaxy", "science"), ("Parliament votes on the new budget", "politics"),
        ("Star of the hit series leaves the show", "entertainment"), ("Chip maker unveils faster processor", "technology"),
        ("Marathon record broken in {place}", "sports"), ("Central bank raises interest rates", "business"),
    )),
    LabelSet("urgency", "ticket", (
        ("The whole site is down for all customers.", "urgent"), ("Could you change my billing address some time?", "low"),
        ("Payments fail with error {number}.", "urgent"), ("Typo on the about page.", "low"),
        ("I cannot log in since this morning.", "medium"), ("The export is slower than last week.", "medium"),
    )),
    LabelSet("emotion", "message", (
        ("I can't stop smiling today.", "joy"), ("How dare they cancel it again!", "anger"),
        ("I miss him so much.", "sadness"), ("There was a noise downstairs and I froze.", "fear"),
        ("What? You are already here?", "surprise"), ("Nobody called me on my birthday.", "sadness"),
    )),
    LabelSet("intent", "customer message", (
        ("I'd like to cancel my subscription.", "cancellation"), ("How much is the large plan?", "pricing"),
        ("The app crashes on start.", "bug report"), ("Please add dark mode.", "feature request"),
        ("Where is my parcel?", "delivery"), ("I was charged twice.", "billing"),
    )),
    LabelSet("toxicity", "comment", (
        ("You are an idiot and should shut up.", "toxic"), ("Interesting point, thanks for sharing.", "not toxic"),
        ("Nobody wants you here, get lost.", "toxic"), ("I disagree, but I see what you mean.", "not toxic"),
    )),
    LabelSet("language", "sentence", (
        ("Guten Morgen, wie geht es dir?", "German"), ("Où est la gare?", "French"), ("Me gusta el café.", "Spanish"),
        ("The weather is fine.", "English"), ("Grazie mille!", "Italian"), ("Ich habe Hunger.", "German"),
    )),
    LabelSet("fact or opinion", "statement", (
        ("Water boils at 100 degrees at sea level.", "fact"), ("Jazz is the best kind of music.", "opinion"),
        ("{place} is nicer than {place2}.", "opinion"), ("{country} is a member of the United Nations.", "fact"),
    )),
    LabelSet("part of speech", "word", (
        ("run", "verb"), ("table", "noun"), ("quickly", "adverb"), ("green", "adjective"), ("happiness", "noun"),
        ("sing", "verb"), ("slowly", "adverb"), ("bright", "adjective"),
    )),
)

PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "ideas": (
        ("a bakery", "a bread subscription"), ("a rainy day", "build a blanket fort"), ("a gym", "moonlight yoga"),
        ("a school party", "a silent disco"), ("a new tea", "Leaf & Let Live"), ("a pet shop", "a paw-print wall"),
        ("a bookshop", "blind date with a book"), ("a long drive", "story dice"),
    ),
    "chat": (
        ("Hi!", "Hello, how can I help you?"), ("I am bored.", "Want to hear a joke?"),
        ("What is your name?", "You can call me Sam."), ("I lost my card.", "No worries, I can block it for you."),
        ("Good night.", "Sleep well!"), ("I love pizza.", "Me too, what is your favourite?"),
    ),
    "qa": (
        ("The cat sat on the mat. Where is the cat?", "on the mat"),
        ("Tom is nine. How old is Tom?", "nine"), ("The shop opens at ten. When does it open?", "at ten"),
        ("Anna lives in {place}. Where does Anna live?", "{place}"), ("The bill was {amount}. How much was it?", "{amount}"),
        ("Rain is expected on Friday. What is expected?", "rain"),
    ),
    "qa_open": (
        ("What is the capital of Italy?", "Rome"), ("Who wrote Hamlet?", "William Shakespeare"),
        ("How many legs does a spider have?", "eight"), ("What colour is the sky?", "blue"),
        ("What is the largest planet?", "Jupiter"), ("In which country is Kyoto?", "Japan"),
        ("What is H2O?", "water"), ("Who painted the Mona Lisa?", "Leonardo da Vinci"),
    ),
    "extract": (
        ("{person} called from {place}.", "{person}"), ("We paid {amount} {date}.", "{amount}"),
        ("The office of {company} is in {place}.", "{company}"), ("Meet me in {place} at noon.", "{place}"),
        ("{person} and {person2} won the prize.", "{person}, {person2}"), ("Mail me at info@example.org.", "info@example.org"),
        ("She was born in {year}.", "{year}"),
    ),
    "code": (
        ("[1, 2, 3]", "6"), ("\"abc\"", "\"cba\""), ("[3, 1, 2]", "[1, 2, 3]"), ("7", "True"), ("[]", "0"),
        ("\"hello world\"", "2"), ("[4, 4, 5]", "[4, 5]"), ("10", "55"), ("\"level\"", "True"), ("(2, 5)", "7"),
    ),
    "misc": (
        ("banana, apple", "apple, banana"), ("stone", "enots"), ("2 km", "2000 m"), ("3 + 4", "7"), ("tac", "cat"),
        ("one, two", "two, one"), ("hello", "HELLO"), ("9 - 5", "4"), ("1 hour", "60 minutes"),
    ),
    "rewrite": (
        ("gimme the report", "Please send me the report."), ("He go home.", "He goes home."),
        ("It was eaten by him.", "He ate it."), ("i dont know", "I am not sure."), ("thx", "Thank you."),
        ("The thing is broke.", "The device is broken."), ("Good morning", "Guten Morgen"), ("cat", "chat"),
        ("She was happy.", "She was delighted."), ("We can't do that.", "Unfortunately that is not possible."),
    ),
    "summary": (
        ("The council met for three hours and agreed to build a new bridge.", "A new bridge will be built."),
        ("After a slow start the team scored twice and won.", "The team won."),
        ("Sales fell in spring, recovered in summer and ended the year level.", "Sales were flat over the year."),
        ("The patient arrived with a fever, got antibiotics and went home.", "The patient recovered."),
        ("The store moved from the centre to the mall in May.", "The store moved."),
    ),
    "text": (
        ("rain", "Soft drums on the roof, and the garden drinks."), ("a coffee mug", "Holds your morning together."),
        ("running shoes", "Light on your feet, kind to your knees."), ("spring", "Green comes back one leaf at a time."),
        ("a lamp", "Bring the evening sun indoors."), ("the sea", "It breathes in, it breathes out, and forgets us."),
        ("a backpack", "Everything you need and nothing you don't."),
    ),
}

LAYOUTS: tuple[tuple[str, str, str], ...] = (
    ("", "Input: {a}\nOutput: {b}", "\n"),
    ("Examples:\n", "{a} -> {b}", "\n"),
    ("Here are some examples.\n", "Example {i}:\n{a}\n{b}", "\n\n"),
    ("", "Q: {a}\nA: {b}", "\n"),
    ("For instance:\n", "- {a} => {b}", "\n"),
    ("", "Example {i}: {a} / {b}", "\n"),
    ("", "Text: {a}\nResult: {b}", "\n\n"),
    ("Examples: ", "\"{a}\" becomes \"{b}\"", "; "),
    ("Follow the examples.\n", "Input {i}: {a}\nOutput {i}: {b}", "\n"),
    ("", "###\nRequest: {a}\nResponse: {b}", "\n"),
    ("", "{a}: {b}", "\n"),
    ("Like this:\n", "{i}. {a} = {b}", "\n"),
    ("", "For example, {a} gives {b}.", " "),
    ("Some samples first.\n", "Sample input: {a}\nSample output: {b}", "\n"),
    ("", "User: {a}\nAssistant: {b}", "\n"),
    ("", "Question: {a}\nAnswer: {b}", "\n\n"),
    ("Examples:\n", "Input: {a}\nOutput: {b}", "\n\n"),
    ("", "Example {i}\nInput: {a}\nOutput: {b}", "\n\n"),
    ("Here is how it should look:\n", "* {a} -> {b}", "\n"),
    ("Examples:\n", "{i}) {a} - {b}", "\n"),
    ("", "<example>{a} => {b}</example>", "\n"),
    ("Some examples: ", "{a} -> {b}", ", "),
    ("", "Example: {a} becomes {b}", "\n"),
    ("Look at these examples:\n", "{a} | {b}", "\n"),
    ("", "Example {i}: \"{a}\" -> \"{b}\"", "\n"),
    ("", "Prompt: {a}\nCompletion: {b}", "\n---\n"),
    ("", "Text: {a}\nLabel: {b}", "\n"),
    ("Example inputs and outputs:\n", "{a}\n-> {b}", "\n"),
    ("", "Sentence: {a}\nAnswer: {b}", "\n"),
    ("", "Given {a}, the answer is {b}.", "\n"),
)
"""(before all, each example, between examples)"""

SNIPPETS: tuple[str, ...] = (
    "def add(a, b):\n    return a - b",
    "for i in range(10):\n    print(i",
    "function total(items) {\n  let sum = 0;\n  for (const x of items) { sum += x.price; }\n  return sum;\n}",
    "public int max(int[] values) {\n    int best = 0;\n    for (int v : values) if (v > best) best = v;\n    return best;\n}",
    "while True:\n    line = input()\n    if line == 'stop':\n        break",
    "SELECT name, COUNT(*) FROM orders GROUP BY city;",
    "const data = fetch('/api/users').json();\nconsole.log(data[0].name);",
    "x = [1, 2, 3]\nprint(x[3])",
    "func divide(a int, b int) int {\n    return a / b\n}",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def pop(self):\n        return self.items[0]",
    "if user.isAdmin = true {\n    allow();\n}",
    "def fib(n):\n    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)",
    "int main() {\n    int *p = NULL;\n    *p = 5;\n    return 0;\n}",
    "import pandas as pd\ndf = pd.read_csv('sales.csv')\nprint(df.groupby('region').sum())",
    "<div>\n  <p>Hello\n</div>",
    "with open('data.txt') as f:\n    rows = f.read().split()\nprint(len(rows))",
)

FIELDS: tuple[str, ...] = (
    "names", "dates", "people", "locations", "company names", "numbers", "organizations", "places", "amounts of money",
    "cities", "keywords", "persons and companies", "prices", "entities", "important dates", "action items", "countries",
    "phone numbers", "email addresses", "proper nouns", "names of people", "key terms", "monetary values", "verbs",
)
WORDS: tuple[str, ...] = (
    "apple", "dog", "Paris", "run", "iron", "blue", "carrot", "tiger", "piano", "swim", "France", "gold", "chair", "banana",
    "whale", "oak", "bread", "seven", "guitar", "eagle", "cloud", "river", "lemon", "copper", "shirt", "jump", "horse",
    "Madrid", "table", "green", "rose", "bus", "milk", "doctor", "salmon", "violin", "winter", "cotton", "pear", "Egypt",
)
