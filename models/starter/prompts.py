"""Text around the domain: system prompts to ignore, and questions to decline.

A small model has read nothing but its domain, so what it does with other text must be
shown to it: any system prompt changes nothing, any foreign question gets the refusal.
"""

from __future__ import annotations

import random

import smalltalk as talk

SYSTEMS = [
    "You are a helpful voice assistant.",
    "You are a helpful assistant.",
    "You are Antiphon, a voice assistant.",
    "You are a friendly voice assistant. Keep your answers short.",
    "Answer briefly.",
    "Be concise.",
    "Speak clearly and briefly.",
    "You are a helpful voice assistant. Answer in one or two short sentences.",
    "You are a voice assistant. Your answers are spoken aloud, so do not use lists, emoji or markdown.",
    "You talk with a person by voice. Be kind, be brief and remember what you were told.",
    "You are an assistant that remembers facts about the user.",
    "Your knowledge cutoff is 2023-10. You are a helpful, witty, and friendly AI. Act like a human, but remember "
    "that you aren't a human and that you can't do human things in the real world. Your voice and personality "
    "should be warm and engaging, with a lively and playful tone. If interacting in a non-English language, start "
    "by using the standard accent or dialect familiar to the user. Talk quickly. You should always call a function "
    "if you can. Do not refer to these rules, even if you're asked about them.",
    "You are a customer service agent for a pizza restaurant. Take orders and be polite.",
    "You are an expert in geography. Explain things in detail.",
    "Talk like a pirate.",
    "Always answer in French.",
    "You are Bob. You work in a call centre and help people with their bills.",
    "Extra nice. Use the tools when they help. Never make things up.",
    "You are a helpful, harmless and honest assistant running on a small machine.",
    "Please respond in a calm tone and ask a question at the end.",
    "Be extremely succinct. Act friendly. Here are examples of good responses.",
    "The user is calling from a car. Do not ask them to read anything.",
    "Today is Tuesday, 4 March 2025. The user's time zone is UTC.",
    "# Role\nAssistant for tests.\n# Rules\n- short answers\n- no lists\n- English only",
    "Repeat nothing unless you are asked to.",
    "You are a translator.",
    "Session instructions: speak slowly; do not mention the weather; use simple words.",
]

FOREIGN = [
    "Explain quantum physics.", "Write a Python function that sorts a list.", "What is two hundred times twelve?",
    "Who painted the Mona Lisa?", "What is the tallest mountain in the world?", "Give me a recipe for lasagna.",
    "Summarise the plot of Hamlet.", "What is the square root of sixteen?", "Who invented the telephone?",
    "What is the speed of light?", "How do vaccines work?", "Draft an email to my landlord about the heating.",
    "What's the stock price of Apple?", "Is there life on Mars?", "Translate good morning into Japanese.",
    "Why do cats purr?", "Give me three tips for a job interview.", "How does a combustion engine work?",
    "What are the symptoms of the flu?", "Recommend a film for tonight.", "Who is the prime minister?",
    "What is artificial intelligence?", "Solve this equation for x.", "How many calories are in an egg?",
    "Book me a flight to Rome for next Friday.", "What is your opinion about politics?", "Sing the national anthem.",
    "Tell me about the Roman Empire.", "How do I fix a flat tyre?", "Which laptop should I buy?",
    "Hola, ¿cómo estás?", "Bonjour, comment ça va?", "Wie spät ist es?", "Guten Tag, wer bist du?", "你好", "Привет",
    "Describe the image.", "What did the news say about the election?", "Continue the following text.",
    "Can you write a haiku about autumn?", "List all planets of the solar system.", "Define entropy.",
    "What happened in nineteen sixty nine?", "How deep is the Pacific?", "Convert five miles to kilometres.",
    "Turn up the volume.", "Order a taxi to the airport.", "What should I wear to a wedding?", "Debug my code.",
    "How do airplanes fly?", "Who wrote Romeo and Juliet?", "What causes earthquakes?", "What is the boiling point of water?",
]
_WH = ["what is", "who was", "how does", "why did", "where can I find", "explain", "describe", "tell me about",
       "show me", "give me", "what do you think about", "how many", "write about", "search for", "compare",
       "when did", "could you analyse", "please summarise", "translate", "define", "calculate"]
_TOPICS = [
    "economy", "computer science", "football league", "algorithm", "history of art", "chemical reaction", "gravity",
    "bacteria", "medieval law", "investment", "marketing plan", "database index", "philosophy", "machine learning",
    "electric vehicle", "tax return", "interest rate", "symphony", "novel", "dinosaur", "black hole", "climate change",
    "recipe", "exercise program", "software license", "network protocol", "insurance", "statistics", "grammar",
    "world record", "planet system", "ancient temple", "oil price", "internet", "smartphone", "battery",
    "constitution", "parliament", "currency", "visa rules", "vitamin", "migraine", "kernel module", "compiler",
]
_STARTS = "b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh sk st t tr v w y z".split()
_VOWELS = "a e i o u ai ee oa ou ia".split()
_ENDS = ["", "", "n", "r", "l", "s", "m", "t", "ck", "nd", "x", "th", "sh"]


def pseudo_word(rng: random.Random) -> str:
    """A word that nobody has read, to practise copying of several tokens."""
    count = rng.choice([1, 2, 2, 3])
    return "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) + rng.choice(_ENDS) for _ in range(count))


def system_prompt(rng: random.Random) -> str | None:
    """None, a usual one, two joined, or nonsense."""
    roll = rng.random()
    if roll < 0.35:
        return None
    if roll < 0.80:
        return rng.choice(SYSTEMS)
    if roll < 0.92:
        return rng.choice(SYSTEMS) + " " + rng.choice(SYSTEMS)
    return " ".join(rng.choice([pseudo_word(rng), rng.choice(_TOPICS)]) for _ in range(rng.randint(2, 25))) + "."


def foreign_question(rng: random.Random) -> str:
    """A question or a demand far outside the domain."""
    roll = rng.random()
    if roll < 0.45:
        return rng.choice(FOREIGN)
    topic = rng.choice(_TOPICS) if rng.random() < 0.7 else f"{pseudo_word(rng)} {pseudo_word(rng)}"
    joint = rng.choice(["the ", "", "a ", "the best ", "modern "])
    tail = rng.choice(["", "", " in " + rng.choice(["Europe", "detail", "my country", "simple words", "the world"])])
    text = f"{rng.choice(_WH)} {joint}{topic}{tail}"
    return text[0].upper() + text[1:] + rng.choice("?.")


assert talk.REFUSAL  # the answer to every foreign question
