"""How clauses become sentences, and the vocabulary that all of them together make.

Below `domain.py`, which builds talks of these, and above the plain lists.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterable

import lexicon as lex
import smalltalk as talk
from facts import KINDS, Kind

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
_SLOT = re.compile(r"\{(\w+)\}")
_QUESTION = re.compile(r"^(?:what|who|where|when|which|how|why|do|does|did|is|are|can|could|will|have)\b(?! to)", re.I)


def spoken_words(text: str) -> list[str]:
    """The words as they are said: lower-case, no punctuation, apostrophes inside words kept."""
    return _WORD.findall(text.lower().replace("’", "'"))


def sentence(clause: str, mark: str = "") -> str:
    """A clause with capital, article and closing mark (`?` when it asks) put right."""
    clause = re.sub(r"\b([Aa]) (?=[aeio]|umbrella)", r"\1n ", clause)
    return clause[0].upper() + clause[1:] + (mark or mark_of(clause))


def mark_of(clause: str) -> str:
    """The closing mark of a bare clause."""
    return "?" if _QUESTION.match(clause) else "."


def is_heldout(kind: str, value: str) -> bool:
    """Whether this pair of fact and value is kept out of every training talk (one in eight)."""
    return zlib.crc32(f"{kind}={value}".encode()) % 8 == 0


def draw_value(rng: random.Random, kind: Kind, split: str) -> str:
    """A value for a fact: from the training pairs, the held-out pairs, or (`any`) from both."""
    value = kind.values(rng)
    for _ in range(40):
        if split == "any" or is_heldout(kind.key, value) == (split == "heldout"):
            break
        value = kind.values(rng)
    return value


def fill_slots(rng: random.Random, *templates: str) -> list[str]:
    """Fill `{slot}`s; the same slot gets the same value in all templates."""
    drawn: dict[str, str] = {}

    def pick(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in talk.SLOTS:
            return match.group(0)
        return drawn.setdefault(name, rng.choice(talk.SLOTS[name]))

    return [_SLOT.sub(pick, t) for t in templates]


def decorate(rng: random.Random, clause: str, question: bool) -> str:
    """Sometimes put an opener or a hesitation before a clause, or a word after it."""
    roll = rng.random()
    if roll < 0.12:
        clause = f"{rng.choice(talk.FILLERS)}, {clause}"
    elif roll < 0.24:
        clause = f"{rng.choice(talk.QUESTION_OPENERS if question else talk.OPENERS)}, {clause}"
    if rng.random() < 0.08:
        clause = f"{clause}, {rng.choice(talk.CLOSERS)}"
    return clause


def cased(word: str) -> str:
    """A vocabulary word as it is written: names with their capital."""
    return CASES.get(word, word)


def _user_strings() -> Iterable[str]:
    """Every phrase and value that a user utterance can be made of."""
    for kind in KINDS:
        yield from (*kind.pool, *kind.statements, *kind.questions, *kind.correct)
    for _, users, _ in talk.INTENTS:
        yield from users
    for values in talk.SLOTS.values():
        yield from values
    for name in ("ORDER_PHRASES", "CUP_PHRASES", "ORDER_QUESTIONS", "ASK_ALL", "REPEAT_REQUESTS", "SAY_AFTER_ME",
                 "WEATHER_QUESTIONS", "TIMER_REQUESTS", "CLOCK_QUESTIONS", "SUM_QUESTIONS", "OFF_TOPIC",
                 "FILLERS", "OPENERS", "QUESTION_OPENERS", "CLOSERS"):
        yield from getattr(talk, name)
    yield from (*lex.NUMBER_WORDS, "a an and")


CAPITALS = {"I", *(w for values in (lex.NAMES, lex.CITIES, lex.COUNTRIES, lex.PETS, lex.MONTHS, lex.WEEKDAYS,
                                     ["Antiphon", "English", "French", "German"]) for w in values)}
CASES = {w.lower(): w for w in CAPITALS} | {"i'm": "I'm"}
VOCABULARY: list[str] = sorted({w for text in _user_strings() for w in spoken_words(_SLOT.sub(" ", text))})
COPY_WORDS: list[str] = [cased(w) for w in VOCABULARY if "'" not in w]
assert len(VOCABULARY) >= 800, len(VOCABULARY)
