"""Words the prompts are filled with. Nothing here is a template: filling a slot never decides the task type."""

# fmt: off
# ruff: noqa: E501 (lists of phrases, not code)

from __future__ import annotations

TOPICS: dict[str, tuple[str, ...]] = {
    "No": (
        "a lost puppy", "friendship", "a rainy afternoon", "my best friend", "a birthday party", "the moon",
        "a walk on the beach", "kindness", "a quiet morning", "moving to a new town", "a grumpy cat",
        "an old house", "growing up", "a first day at school", "a summer night", "happiness", "my grandmother",
        "two brothers", "a talking tree", "the colour blue", "winter", "a dragon who is afraid of fire",
        "saying sorry", "a long train ride", "a small village", "the ocean", "dreams", "a broken umbrella",
        "a picnic", "rainbows", "a snowman", "waking up early", "a shy robot", "an empty street", "a stray dog",
        "a lighthouse keeper", "a time traveller", "neighbours", "loneliness", "a wedding", "a magic forest",
        "a pirate ship", "a forgotten letter", "teamwork", "patience", "laughter", "a dancing bear",
    ),
    "Low": (
        "healthy breakfasts", "house plants", "learning the guitar", "packing for a weekend trip", "baking bread",
        "saving money on groceries", "road trips", "board games", "training a dog", "yoga for beginners",
        "cleaning the kitchen", "gardening on a balcony", "camping with children", "running a first 5k",
        "making coffee at home", "learning Spanish", "planning a dinner party", "home decoration", "football",
        "photography with a phone", "the school science fair", "bird watching", "knitting", "visiting Rome",
        "better sleep", "studying for exams", "vegetarian cooking", "recycling at home", "cycling to work",
        "caring for a cat", "making friends in a new city", "painting a bedroom", "job interviews",
        "public speaking", "book clubs", "swimming lessons", "a birthday cake", "remote work", "fishing",
        "the perfect pizza", "tea", "hiking in the mountains", "volunteering", "video games", "smartphones",
        "pets", "fashion", "popular music", "movies from the nineties", "a family budget", "holidays in Japan",
        "social media", "sports cars", "chess", "barbecue", "weight loss", "meditation", "online dating",
    ),
    "Medium": (
        "email marketing", "the Roman Empire", "renewable energy", "supply chain management", "inflation",
        "the French Revolution", "search engine optimisation", "customer retention", "project management",
        "climate change", "electric vehicles", "the stock market", "cloud computing", "cyber security",
        "human resources", "the Second World War", "web design", "startup fundraising", "data privacy",
        "agile software development", "solar panels", "international trade", "photosynthesis", "urban planning",
        "plate tectonics", "the water cycle", "accounting for small businesses", "brand strategy",
        "artificial intelligence", "real estate investment", "nutrition for athletes", "the Cold War",
        "classical music theory", "the solar system", "database backups", "mobile app development",
        "e-commerce", "leadership in large companies", "the Renaissance", "wildlife conservation", "vaccines",
        "mortgage rates", "industrial design", "journalism ethics", "public transport policy", "logistics",
        "market research", "wind turbines", "the Industrial Revolution", "machine learning", "mental health",
    ),
    "High": (
        "quantum entanglement", "contract law", "CRISPR gene editing", "Bayesian inference",
        "antibiotic resistance", "monetary policy transmission", "organic reaction mechanisms",
        "convex optimisation", "constitutional law", "deep neural network architectures", "general relativity",
        "myocardial infarction", "options pricing with the Black-Scholes model", "protein folding",
        "compiler optimisation", "patent litigation", "differential equations", "type 2 diabetes treatment",
        "cryptographic hash functions", "fluid dynamics", "immunotherapy for lung cancer", "tort liability",
        "semiconductor lithography", "distributed consensus protocols", "eigenvalues and eigenvectors",
        "mRNA vaccine delivery", "thermodynamic entropy", "epidemiological modelling", "corporate tax law",
        "transformer language models", "pharmacokinetics", "graph theory", "macroprudential regulation",
        "spinal cord injury", "nuclear fusion reactors", "topological insulators", "stochastic calculus",
        "zero-knowledge proofs", "hypertension guidelines", "seismic wave propagation", "enzyme kinetics",
        "linear algebra", "clinical trial design", "criminal procedure", "reinforcement learning",
        "neurotransmitters", "organ transplantation", "asymptotic complexity", "signal processing",
    ),
}

PLACES = (
    "Paris", "Tokyo", "Nairobi", "Berlin", "Toronto", "Lima", "Mumbai", "Sydney", "Cairo", "Oslo", "Chicago",
    "Madrid", "Seoul", "Istanbul", "Boston", "Lisbon", "Prague", "Dublin", "Bangkok", "Vienna", "Denver",
    "Manchester", "Hamburg", "Seattle", "Warsaw", "New York", "London", "San Francisco", "Cape Town", "Milan",
)
COUNTRIES = (
    "France", "Japan", "Kenya", "Germany", "Canada", "Peru", "India", "Australia", "Egypt", "Norway", "Spain",
    "South Korea", "Turkey", "Portugal", "Ireland", "Thailand", "Austria", "Poland", "Brazil", "Italy",
    "Mexico", "Sweden", "China", "Argentina", "Greece", "Nigeria", "Vietnam", "the United States", "Finland",
)
PEOPLE = (
    "Maria Lopez", "John Carter", "Aisha Khan", "Peter Schmidt", "Wei Chen", "Fatima Noor", "Liam Murphy",
    "Elena Petrova", "David Kim", "Sofia Rossi", "Thomas Brown", "Amara Okafor", "Lucas Silva", "Emma Wilson",
    "Hiro Tanaka", "Nora Jensen", "Omar Haddad", "Grace Miller", "Ivan Novak", "Priya Sharma", "Anna Kowalski",
    "Robert Taylor", "Julia Meyer", "Daniel Evans", "Chloe Martin", "Samuel Adeyemi", "Sarah Johnson",
)
FAMOUS = (
    "Albert Einstein", "Marie Curie", "Leonardo da Vinci", "Napoleon", "Shakespeare", "Isaac Newton",
    "Cleopatra", "Mozart", "Ada Lovelace", "Nelson Mandela", "Charles Darwin", "Galileo", "Frida Kahlo",
    "Julius Caesar", "Alan Turing", "Beethoven", "Gandhi", "Abraham Lincoln", "Aristotle", "Nikola Tesla",
)
COMPANIES = (
    "Acme Corp", "Northwind", "Blue River Bank", "Helix Labs", "Sunrise Foods", "Orbit Airlines", "Pinecone Media",
    "Globex", "Silverline Motors", "Greenfield Energy", "Atlas Insurance", "Brightside Health", "Vertex Robotics",
    "Harbor Logistics", "Maple Software", "Summit Telecom", "Cobalt Mining", "Willow Furniture",
)
DATES = (
    "3 March 2021", "last Tuesday", "June 14, 2019", "on Monday", "in early 2023", "12 October 1998",
    "in the spring of 2020", "yesterday", "January 5th", "on 21 May", "two weeks ago", "in 2017",
    "late on Friday", "September 30, 2022", "in the autumn",
)
LANGUAGES = (
    "French", "Spanish", "German", "Italian", "Japanese", "Portuguese", "Dutch", "Chinese", "Arabic", "Hindi",
    "Russian", "Korean", "Polish", "Turkish", "Latin", "Greek", "Swedish",
)
PROGRAMMING = (
    "Python", "JavaScript", "Java", "C++", "Go", "Rust", "TypeScript", "C#", "Ruby", "Kotlin", "Swift", "PHP",
    "Bash", "R", "Scala", "C",
)
FRAMEWORKS = (
    "React", "Django", "Flask", "FastAPI", "pandas", "NumPy", "Spring Boot", "Node.js", "PyTorch", "Vue", "Express",
    "Angular", "Rails",
)
CODE_GOALS = (
    "reverses a string", "checks whether a number is prime", "sorts a list of numbers", "merges two sorted arrays",
    "counts the words in a file", "finds the longest common prefix", "parses a CSV file",
    "removes duplicates from a list", "computes the factorial of n", "validates an email address",
    "converts Celsius to Fahrenheit", "implements binary search", "flattens a nested list",
    "downloads a web page and saves it", "generates random passwords", "calculates the Fibonacci sequence",
    "reads JSON from an API and prints the names", "detects a cycle in a linked list", "resizes all images in a folder",
    "checks if two strings are anagrams", "prints a multiplication table", "traverses a binary tree in order",
    "groups records by date", "finds the shortest path in a graph", "rotates a matrix by 90 degrees",
    "sends an email with an attachment", "retries a request with exponential backoff", "adds two numbers",
    "returns the largest element of an array", "uses a for loop to print the numbers from 1 to 10",
    "checks if a string is a palindrome", "counts the vowels in a sentence", "connects to a PostgreSQL database",
    "computes the average of a list", "loops over a dictionary and prints each key", "returns the sum of a list",
)
CODE_THINGS = (
    "a to-do list app", "a login form", "a REST API for a bookshop", "a snake game", "a calculator",
    "a linked list", "a stack with push and pop", "a least recently used cache", "a web scraper",
    "a chat server", "a weather dashboard", "a binary search tree", "a rate limiter", "a command line tool",
    "a thread-safe queue", "a tic-tac-toe game", "a URL shortener", "a priority queue", "a countdown timer",
    "a responsive navigation bar", "a hash map", "a file uploader", "a text editor", "a bank account class",
    "a pagination helper", "an image gallery", "a shopping cart",
)
AUDIENCES = (
    "children", "beginners", "busy parents", "college students", "a team of engineers", "new customers",
    "retired people", "teenagers", "small business owners", "tourists", "investors", "my colleagues", "teachers",
    "a five-year-old", "people with little time", "first-time buyers", "office workers", "a small team",
)
ROLES = (
    "a friendly shop assistant", "a wise old wizard", "a pirate captain", "my English teacher", "a travel agent",
    "a medieval knight", "a helpful customer support agent", "a therapist", "a job interviewer", "Sherlock Holmes",
    "a personal trainer", "a grumpy barista", "a detective", "a supportive friend", "an alien visiting Earth",
    "a museum guide", "my life coach", "a robot from the future", "a waiter in a restaurant", "a fortune teller",
    "a doctor", "a motivational coach", "a stand-up comedian", "a virtual assistant", "my personal assistant",
)
FEELINGS = (
    "a bit sad", "really excited", "tired", "stressed about work", "lonely", "bored", "nervous about tomorrow",
    "happy", "overwhelmed", "angry with my boss", "grateful", "anxious", "homesick", "confused", "great",
)
PRODUCTS = (
    "a reusable water bottle", "a pair of running shoes", "a coffee shop", "a language app", "a travel backpack",
    "noise-cancelling headphones", "a dog food brand", "a bakery", "a smart watch", "an eco-friendly soap",
    "a standing desk", "a podcast", "a toy store", "a fitness studio", "a meal delivery service", "a bookshop",
    "an electric bike", "a skincare line", "a board game cafe", "a solar lamp", "a mobile game", "a tech startup",
    "a vegan restaurant", "a hotel by the sea", "an online course", "a new phone",
)
OCCASIONS = (
    "a wedding", "a team meeting", "a retirement party", "a graduation", "a school fundraiser", "a product launch",
    "Valentine's Day", "a farewell lunch", "a housewarming", "a company anniversary", "Mother's Day", "Christmas",
    "a charity run", "a rainy weekend", "a baby shower", "a birthday", "an anniversary", "Halloween",
)
SENTENCES = (
    "me and him goes to the store every days", "The meeting was postponed because the manager was ill.",
    "I can't believe you guys are late again!", "She don't like apples very much.",
    "The quarterly results were significantly better than anticipated.", "gonna be late, traffic is awful",
    "Our team will finalise the proposal by Thursday.", "He have went to the park yesterday.",
    "The committee approved the new budget.", "Your order has been delayed and we don't know when it ships.",
    "The weather was so bad that we stayed inside all day.", "this product is kinda ok i guess",
    "Please send me the report asap, it's urgent.", "The cake was eaten by the children.",
    "In order to make a decision, we need to have a discussion about the options.",
    "I want to quit my job and travel around the world.", "The dog chased the cat up the tree.",
    "Due to the fact that it was raining, the match was cancelled.", "Where is the nearest train station?",
    "We regret to inform you that your application was not successful.", "hey, can u send the file pls",
    "My sister lives in a small apartment near the river.", "The results shows that the method work well.",
    "It is what it is, you know.", "The new policy will be implemented by all departments next month.",
    "I am very very tired and I am also very hungry.", "The book that I read it was interesting.",
    "Good morning, I would like a cup of coffee, please.", "He was fired for being lazy.",
    "They was playing football when the rain start.", "I love this song so much.",
)
FORMS: dict[str, tuple[str, ...]] = {
    "Creative": (
        "short story", "poem", "haiku", "fairy tale", "song", "limerick", "fable", "bedtime story", "monologue",
        "sonnet", "fantasy story", "love letter", "science fiction story", "dialogue", "movie scene", "rap",
        "ghost story", "children's story", "mystery", "script for a short play", "nursery rhyme", "joke",
    ),
    "Plain": (
        "blog post", "essay", "product description", "press release", "cover letter", "newsletter", "report",
        "speech", "social media post", "tweet", "LinkedIn post", "article", "thank-you email", "opinion piece",
        "job description", "paragraph", "landing page text", "introduction", "lesson plan", "review",
        "press statement", "business plan", "presentation script", "letter", "advertisement", "caption",
    ),
}
CONCEPTS = (
    "gravity", "a black hole", "the speed of light", "a vaccine", "a blockchain", "the greenhouse effect",
    "an atom", "a leap year", "compound interest", "a recession", "DNA", "a neural network", "an earthquake",
    "democracy", "a solar eclipse", "cholesterol", "the periodic table", "a volcano", "osmosis", "a prime number",
    "the Pythagorean theorem", "a virus", "an operating system", "electricity", "a tsunami", "inflation",
    "the human heart", "a rainbow", "a hurricane", "an API", "the ozone layer", "a glacier", "the internet",
)
SUPERLATIVES = (
    "the tallest mountain in the world", "the longest river in Africa", "the largest ocean",
    "the smallest country in Europe", "the fastest land animal", "the oldest university in the world",
    "the deepest lake on Earth", "the most spoken language", "the largest planet in the solar system",
    "the hottest desert", "the biggest island", "the hardest natural substance", "the most populous city",
)
EVENTS = (
    "the Berlin Wall fall", "the first man land on the moon", "the Titanic sink", "World War II end",
    "the telephone get invented", "the Roman Empire collapse", "the first World Cup take place",
    "the printing press appear", "the Great Fire of London happen", "the United Nations start",
)
INVENTIONS = (
    "the telephone", "the light bulb", "penicillin", "the steam engine", "the World Wide Web", "the Mona Lisa",
    "Hamlet", "the theory of relativity", "the printing press", "Pride and Prejudice", "radium", "the airplane",
    "the Eiffel Tower", "Don Quixote", "the ninth symphony", "the vaccine against smallpox", "basketball",
)
EVERYDAY_WHY = (
    "the sky is blue", "cats purr", "leaves change colour in autumn", "ice floats on water", "we dream",
    "the sea is salty", "onions make you cry", "birds migrate", "bread rises", "metal feels colder than wood",
    "airplanes can fly", "we yawn", "the moon has phases", "bees make honey", "stars twinkle",
    "popcorn pops", "people get goosebumps", "the days are longer in summer",
)
HOW_TO = (
    "a refrigerator keeps food cold", "a microwave heats food", "GPS finds your position", "plants make food",
    "a bill becomes a law", "the stock exchange works", "a credit score is calculated", "batteries store energy",
    "the eye sees colour", "a search engine ranks pages", "cheese is made", "tides form", "a jet engine works",
    "the heart pumps blood", "bitcoin mining works", "a court of appeal decides a case", "insulin works",
)
SYLLABLES = (
    "ka", "lo", "mi", "ran", "ve", "sol", "tor", "bex", "ni", "qua", "dri", "fen", "gar", "hul", "jo", "pel",
    "su", "tam", "wis", "yor", "zan", "che", "bru", "clo", "est", "ing", "mar", "ton", "ley", "ham",
)
WHYS = (
    "is the sky blue", "do cats purr", "do leaves change colour in autumn", "does ice float on water", "do we dream",
    "is the sea salty", "do onions make you cry", "do birds migrate", "does bread rise", "do we yawn",
    "does the moon have phases", "do bees make honey", "do stars twinkle", "does popcorn pop",
    "are the days longer in summer", "is Pluto not a planet any more", "did the dinosaurs die out",
    "do prices rise when money is printed", "is gold so expensive", "do we have leap years",
)
LANDMARKS = (
    "Mount Everest", "the Nile", "the Eiffel Tower", "a blue whale", "the Great Wall of China", "the Moon", "an elephant",
    "the Amazon river", "Big Ben", "the Golden Gate Bridge", "the Sun", "a marathon", "Lake Victoria", "the Sahara",
)
