"""Facts that a person may tell and ask back: the ways to state, ask and answer them.

Every phrase is a clause without capital or full stop, so that two of them can be
joined with "and"; `domain.py` makes sentences of them. `{v}` is the value.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import lexicon as lex


@dataclass(frozen=True)
class Kind:
    """One kind of fact.

    `correct` are clauses that replace an earlier value; `noun` finishes
    "you have not told me ...".
    """

    key: str
    values: Callable[[random.Random], str]
    pool: list[str]
    statements: list[str]
    questions: list[str]
    answer: str
    noun: str
    acks: list[str]
    correct: list[str]


def _kind(key, values, statements, questions, answer, noun, acks, correct=()) -> Kind:
    pool = values if isinstance(values, list) else []
    draw = (lambda rng: rng.choice(pool)) if pool else values
    fallback = [f"actually {s}" for s in statements[:3]] + [f"no wait, {statements[0]}"]
    return Kind(key, draw, pool, statements, questions, answer, noun, acks, list(correct) or fallback)


def _spelled_between(low: int, high: int) -> Callable[[random.Random], str]:
    return lambda rng: lex.spelled(rng.randint(low, high))


def _number(rng: random.Random) -> str:
    """A number to remember: a quantity or a row of digits, as people say phone or room numbers."""
    if rng.random() < 0.5:
        return lex.spelled(rng.choice([rng.randint(10, 99), rng.randint(100, 999)]))
    return " ".join(rng.choice(lex.DIGITS) for _ in range(rng.randint(3, 5)))


_PERSONAL = [
    _kind("name", lex.NAMES,
          ["my name is {v}", "I am {v}", "I am called {v}", "you can call me {v}", "please call me {v}",
           "this is {v} speaking", "people call me {v}", "I'm {v}", "the name is {v}", "it's {v} here"],
          ["what is my name", "what's my name", "do you know my name", "who am I", "what am I called",
           "tell me my name", "do you remember my name", "can you say my name",
           "what did I say my name was", "do you still know who I am"],
          "your name is {v}", "your name",
          ["nice to meet you, {v}", "welcome, {v}"],
          ["actually my name is {v}", "sorry, my name is {v}", "no, my name is {v}",
           "I meant to say my name is {v}", "please call me {v} from now on",
           "that was wrong, my name is {v}"]),
    _kind("city", lex.CITIES,
          ["I live in {v}", "my home is in {v}", "I am living in {v}", "I have a flat in {v}",
           "my city is {v}", "I moved to {v}", "my family and I live in {v}", "I am living in {v} now"],
          ["where do I live", "which city do I live in", "what city do I live in", "where is my home",
           "do you remember where I live", "tell me where I live", "do you know where I live",
           "what is my city"],
          "you live in {v}", "where you live",
          ["I hear that {v} is a lovely city", "living in {v} sounds great"],
          ["actually I live in {v} now", "sorry, I live in {v}", "no, I live in {v}",
           "I have just moved to {v}", "we moved to {v}", "I meant to say I live in {v}"]),
    _kind("country", lex.COUNTRIES,
          ["I come from {v}", "I am from {v}", "I was born in {v}", "I'm from {v}", "I grew up in {v}",
           "my country is {v}"],
          ["where do I come from", "which country do I come from", "where am I from",
           "what country am I from", "do you remember where I come from", "where was I born",
           "which country was I born in"],
          "you come from {v}", "where you come from",
          ["I hear that {v} is a beautiful country", "people say {v} is nice"]),
    _kind("age", _spelled_between(5, 99),
          ["I am {v} years old", "I'm {v} years old", "my age is {v}", "I turned {v} last week",
           "I will be {v} years old soon", "I have just turned {v}"],
          ["how old am I", "what is my age", "do you know how old I am", "tell me my age",
           "do you remember my age", "can you say how old I am"],
          "you are {v} years old", "how old you are", ["to be {v} is a good age", "thank you, {v}"]),
    _kind("job", [*lex.JOBS, *lex.JOBS_AN],
          ["I work as {a} {v}", "I am {a} {v}", "my job is {v}", "I'm {a} {v}", "I earn my money as {a} {v}",
           "I have been {a} {v} for ten years", "by profession I am {a} {v}"],
          ["what is my job", "what do I do for a living", "what do I work as", "what's my job",
           "do you remember my job", "tell me my job", "what is my profession",
           "do you know what I do for work"],
          "you work as {a} {v}", "what your job is",
          ["being {a} {v} sounds interesting", "to be {a} {v} is a good job"]),
    _kind("hobby", lex.HOBBIES,
          ["my hobby is {v}", "my favourite hobby is {v}", "in my free time I do {v}",
           "I enjoy {v} at the weekend", "my hobby has always been {v}", "I spend my weekends on {v}"],
          ["what is my hobby", "what's my hobby", "what do I do in my free time",
           "do you remember my hobby", "tell me my hobby", "what do I enjoy at the weekend"],
          "your hobby is {v}", "your hobby", ["I am sure {v} is great fun", "yes, {v} sounds like fun"]),
    _kind("instrument", lex.INSTRUMENTS,
          ["I play the {v}", "I am learning the {v}", "my instrument is the {v}", "I can play the {v}",
           "I have played the {v} for years", "I practise the {v} every day"],
          ["which instrument do I play", "what instrument do I play", "what is my instrument",
           "do you remember my instrument", "what am I learning to play", "tell me my instrument"],
          "you play the {v}", "which instrument you play", ["the {v} sounds lovely", "I like the {v}"]),
    _kind("birthday", lex.MONTHS,
          ["my birthday is in {v}", "I was born in {v}", "I have my birthday in {v}",
           "my birthday comes in {v}", "we celebrate my birthday in {v}", "my birthday month is {v}"],
          ["when is my birthday", "in which month is my birthday", "what month is my birthday in",
           "do you remember my birthday", "when do I have my birthday", "tell me my birthday month"],
          "your birthday is in {v}", "your birthday", ["I think {v} is a nice month", "a birthday in {v}, lovely"]),
    _kind("dayoff", lex.WEEKDAYS,
          ["my day off is {v}", "I am free on {v}", "my free day is {v}", "I do not work on {v}",
           "I have {v} off", "my day off is on {v}"],
          ["when is my day off", "which day am I free", "what is my day off", "when am I free",
           "do you remember my day off", "which day do I have off"],
          "your day off is {v}", "your day off", ["okay, {v} it is", "enjoy your {v}"]),
    _kind("number", _number,
          ["my number is {v}", "please remember the number {v}", "the number is {v}",
           "my room number is {v}", "keep the number {v} in mind", "remember the number {v} for me"],
          ["what is my number", "what was the number", "which number did I tell you",
           "what number did I ask you to remember", "do you remember the number", "tell me my number"],
          "your number is {v}", "your number", ["I will remember {v}", "thank you, {v}"]),
    _kind("code", lex.CODE_WORDS,
          ["the code word is {v}", "my code word is {v}", "please remember the word {v}",
           "the secret word is {v}", "my password is {v}", "remember the code word {v}"],
          ["what is the code word", "what was the code word", "what is my password",
           "what is the secret word", "which word did I ask you to remember",
           "do you remember the code word", "tell me the code word"],
          "the code word is {v}", "the code word", ["I will remember the word {v}", "thank you, {v} it is"]),
    _kind("car", lex.COLOURS,
          ["my car is {v}", "I drive a {v} car", "I have a {v} car", "the colour of my car is {v}",
           "I bought a {v} car", "we have a {v} car"],
          ["what colour is my car", "which colour is my car", "what is the colour of my car",
           "do you remember the colour of my car", "what kind of car do I drive",
           "tell me the colour of my car"],
          "your car is {v}", "the colour of your car", ["a {v} car, very nice", "I think {v} cars look good"]),
]


def _favourite(thing: str, values: list[str], article: str = "") -> Kind:
    v = article + "{v}"
    return _kind(
        f"favourite {thing}", values,
        [f"my favourite {thing} is {v}", f"the {thing} I like best is {v}", f"I like {v} more than any other {thing}",
         f"of all, {v} is my favourite {thing}", f"my favourite {thing} has always been {v}",
         f"the best {thing} for me is {v}", f"if you ask me, the best {thing} is {v}"],
        [f"what is my favourite {thing}", f"what's my favourite {thing}", f"which {thing} do I like best",
         f"do you remember my favourite {thing}", f"tell me my favourite {thing}",
         f"what {thing} do I like most", f"do you know which {thing} I like"],
        f"your favourite {thing} is {v}", f"your favourite {thing}",
        [f"I think {v} is a good choice", f"I will remember that you like {v}"],
        [f"actually my favourite {thing} is {v}", f"no, my favourite {thing} is {v}",
         f"sorry, my favourite {thing} is {v}", f"I changed my mind, my favourite {thing} is {v}",
         f"now I like {v} more, so my favourite {thing} is {v}"])


def _relation(rel: str) -> Kind:
    return _kind(
        rel, lex.NAMES,
        [f"my {rel} is called {{v}}", f"my {rel}'s name is {{v}}", f"I have a {rel} called {{v}}",
         f"I have a {rel} named {{v}}", f"the name of my {rel} is {{v}}", f"my {rel} is {{v}}",
         f"I call my {rel} {{v}}"],
        [f"what is my {rel} called", f"what is my {rel}'s name", f"what's my {rel}'s name", f"who is my {rel}",
         f"what is the name of my {rel}", f"do you remember my {rel}'s name", f"tell me the name of my {rel}",
         f"how do you call my {rel}"],
        f"your {rel} is called {{v}}", f"your {rel}'s name",
        [f"say hello to {{v}}", f"I think {{v}} is a nice name"])


def _pet(pet: str) -> Kind:
    base = _relation(pet)
    extra = [f"I have a {pet} and its name is {{v}}", f"we call our {pet} {{v}}"]
    return _kind(pet, lex.PETS, base.statements + extra, base.questions, base.answer, base.noun,
                 [f"I think {{v}} is a good name for a {pet}", f"I am sure {{v}} is lovely"])


KINDS: list[Kind] = [
    *_PERSONAL,
    _favourite("colour", lex.COLOURS),
    _favourite("food", lex.FOODS),
    _favourite("drink", lex.DRINKS),
    _favourite("animal", lex.ANIMALS, "the "),
    _favourite("sport", lex.HOBBIES),
    _favourite("city", lex.CITIES),
    *(_pet(p) for p in ("dog", "cat", "bird", "pony")),
    *(_relation(r) for r in lex.RELATIONS),
]
BY_KEY: dict[str, Kind] = {k.key: k for k in KINDS}


def article(value: str) -> str:
    """`a` or `an`, by letter: no value of this domain needs more."""
    return "an" if value[0].lower() in "aeiou" else "a"


def fill(template: str, value: str) -> str:
    """Put a value and its article into a phrase."""
    return template.replace("{a}", article(value)).replace("{v}", value)
