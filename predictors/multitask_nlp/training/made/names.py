"""Names of people, organisations, places and other things, drawn to fill wordings."""

from __future__ import annotations

import random

# fmt: off
FIRST = ("Anna Peter Maria John Lucia David Sarah Thomas Elena Michael Ingrid Robert Fatima James Yuki William "
         "Olga Daniel Chloe Ahmed Laura Carlos Emma Pavel Grace Henry Nadia Victor Julia Samuel Priya Martin "
         "Amara Simon Hannah Diego Clara Ivan Rosa Felix Mei Oscar Leila Hugo Nina George Alice Tariq Eva Paul "
         "Linda Kevin Sofia Brian Helen Mark Irene Steven Diana Frank").split()
LAST = ("Lindberg Smith Rossi Tanaka Johnson Kowalski Garcia Novak Brown Petrov Haddad Wilson Fischer Okafor "
        "Miller Santos Larsen Moreau Davis Ivanova Nguyen Walker Bianchi Schmidt Taylor Kim Hansen Clark Sharma "
        "Dubois Lopez Adams Weber Hughes Nakamura Evans Costa Murphy Jansen Baker Romano Singh Cooper Ferrari "
        "Mendes Fraser Keller Ortiz Olsen Parker Virtanen Bauer Reed Morales Vogel Chen Doyle Marino Stewart "
        "Hoffman").split()
CITIES = ("London", "Paris", "Berlin", "Madrid", "Rome", "Lisbon", "Vienna", "Prague", "Oslo", "Helsinki", "Tokyo",
          "Sydney", "Toronto", "Chicago", "Boston", "Seattle", "New York", "Los Angeles", "San Francisco", "Miami",
          "Dublin", "Warsaw", "Athens", "Cairo", "Nairobi", "Mumbai", "Delhi", "Seoul", "Beijing", "Bangkok",
          "Jakarta", "Lima", "Bogota", "Santiago", "Geneva", "Zurich", "Munich", "Hamburg", "Milan", "Naples",
          "Barcelona", "Valencia", "Porto", "Lyon", "Marseille", "Brussels", "Antwerp", "Amsterdam", "Rotterdam",
          "Copenhagen", "Stockholm", "Budapest", "Krakow", "Istanbul", "Dallas", "Denver", "Montreal", "Vancouver",
          "Melbourne", "Manchester", "Glasgow", "Bristol", "Leeds", "Osaka", "Kyoto", "Cape Town", "Buenos Aires")
COUNTRIES = ("France", "Germany", "Italy", "Spain", "Portugal", "Norway", "Sweden", "Finland", "Poland", "Japan",
             "China", "India", "Brazil", "Mexico", "Canada", "Australia", "Kenya", "Egypt", "Morocco", "Turkey",
             "Greece", "Austria", "Hungary", "Ireland", "Chile", "Peru", "Argentina", "South Korea", "Vietnam",
             "Thailand", "Indonesia", "New Zealand", "South Africa", "Switzerland", "the United States")
REGIONS = ("Bavaria", "Tuscany", "California", "Texas", "Florida", "Scotland", "Wales", "Catalonia", "Quebec",
           "Ontario", "Siberia", "Europe", "Asia", "Africa", "Scandinavia", "Lake Geneva", "the Alps", "Normandy")
COMPANIES = ("Apple Inc.", "Google", "Microsoft", "Amazon", "IBM", "Intel", "Siemens", "Toyota", "Sony", "Samsung",
             "Nokia", "Volvo", "Airbus", "Boeing", "Shell", "Nestle", "Renault", "Philips", "Oracle", "Tesla",
             "Reuters", "Honda", "Ford", "Deutsche Bank", "Goldman Sachs", "General Electric", "Coca-Cola", "Nike")
BODIES = ("the United Nations", "the World Bank", "NATO", "the European Commission", "UNICEF", "the Red Cross",
          "the World Health Organization", "Greenpeace", "the Supreme Court", "NASA", "the Senate", "OPEC",
          "Interpol", "the Labour Party", "Manchester United", "Real Madrid", "Juventus", "the Chicago Bulls",
          "the Central Bank", "FIFA", "Ajax", "Bayern Munich")
ENDINGS = ("Inc.", "Corp.", "Ltd.", "Group", "Holdings", "Motors", "Airlines", "Bank", "Foods", "Software",
           "Industries", "Energy", "Partners", "Logistics", "Pharmaceuticals")
STEMS = ("Nordic", "Atlas", "Pacific", "Summit", "Harbor", "Vertex", "Orion", "Delta", "Falcon", "Quantum", "Silver",
         "Northern", "Evergreen", "Pioneer", "Meridian", "Crystal", "Titan", "Aurora", "Global", "United")
PEOPLES = ("French", "German", "Italian", "Spanish", "Portuguese", "Norwegian", "Swedish", "Polish", "Japanese",
           "Chinese", "Indian", "Brazilian", "Mexican", "Canadian", "Australian", "Egyptian", "Turkish", "Greek",
           "Dutch", "British", "American", "Russian", "Irish", "European")
EVENTS = ("World Cup", "Olympic Games", "Davis Cup", "Champions League", "Super Bowl", "Tour de France", "Grand Prix",
          "Nobel Prize", "Wimbledon", "World Series", "US Open", "Cold War", "World War II", "Ryder Cup")
FACULTIES = ("University of {}", "{} University", "the {} Museum of Art", "the Bank of {}", "the {} City Council",
             "{} General Hospital", "the {} Police", "{} Zoo", "the {} Symphony Orchestra")
# fmt: on


def person(rng: random.Random) -> str:
    kind = rng.random()
    first, last = rng.choice(FIRST), rng.choice(LAST)
    if kind < 0.72:
        return f"{first} {last}"
    if kind < 0.82:
        return f"{first} {rng.choice('ABCDEHJKLMRST')}. {last}"
    return last if kind < 0.92 else first


def full_name(rng: random.Random) -> str:
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


def organisation(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(COMPANIES)
    if kind < 0.5:
        return rng.choice(BODIES)
    if kind < 0.7:
        return rng.choice(FACULTIES).format(rng.choice(CITIES))
    return company(rng)


def company(rng: random.Random) -> str:
    """A company that does not exist, most likely."""
    return f"{rng.choice(rng.choice((STEMS, LAST)))} {rng.choice(ENDINGS)}"


def place(rng: random.Random) -> str:
    return rng.choice(rng.choices((CITIES, COUNTRIES, REGIONS), (6, 3, 1))[0])
