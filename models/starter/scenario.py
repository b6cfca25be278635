"""The load tester's script: facts to state and ask back, and neutral talk between them.

A simulated user states two or three facts with values that no other user has, talks about
nothing for some turns, and asks back. A right answer holds the value as a whole word; one
that holds another user's value shows a leak between sessions. So no value may occur in any
other text here, and no value belongs to two kinds.
"""

from __future__ import annotations

import json
from pathlib import Path

import lexicon as lex
import smalltalk as talk
from facts import BY_KEY
from tools import FAILED, REFUSALS
from wording import sentence, spoken_words

KEYS = ["name", "city", "code", "favourite food", "favourite animal", "job", "instrument"]
NEUTRAL = ["hello", "howareyou", "thanks", "who", "what", "bot", "where", "memory", "okay", "wait", "joke", "story",
           "count10", "days", "test", "love", "language", "stop", "sorry"]
SUMS = [(2, 3), (4, 4), (5, 1), (7, 2), (3, 6), (10, 2), (8, 5), (9, 9)]


def _neutral() -> list[dict]:
    """Utterances without a fact; `expect` lists words that a right answer holds."""
    out = []
    for name, users, answers in talk.INTENTS:
        if name in NEUTRAL:
            expect = spoken_words(answers[0])[:4]
            out += [{"kind": name, "user": sentence(u), "expect": expect, "long": len(answers[0]) > 90}
                    for u in users[:5]]
    for a, b in SUMS:
        out.append({"kind": "sum", "user": f"What is {lex.spelled(a)} plus {lex.spelled(b)}?",
                    "expect": [lex.spelled(a + b)], "long": False})
    return out


def _fixed_words(neutral: list[dict]) -> set[str]:
    """Every word that occurs in a scenario or an answer without being a value."""
    texts = [n["user"] for n in neutral] + [talk.REFUSAL, FAILED, *REFUSALS.values()]
    texts += [answer for _, _, answers in talk.INTENTS for answer in answers]
    for key in KEYS:
        kind = BY_KEY[key]
        texts += [*kind.statements, *kind.questions, *kind.acks, kind.answer, kind.noun]
    return {w for text in texts for w in spoken_words(text.replace("{v}", " "))}


def build() -> dict:
    """The scenario as plain data."""
    neutral = _neutral()
    taken, facts = _fixed_words(neutral), []
    for key in KEYS:
        kind = BY_KEY[key]
        values = [v for v in kind.pool if " " not in v and v.lower() not in taken and v not in lex.JOBS_AN]
        taken |= {v.lower() for v in values}
        statements = [sentence(s.replace("{a} {v}", "a {v}").replace("{v}", "{value}"), ".")
                      for s in kind.statements if not s.startswith("{v}")]
        facts.append({"kind": key.replace(" ", "_"), "statements": statements,
                      "questions": [sentence(q) for q in kind.questions], "values": values})
    return {"version": 1, "language": "en",
            "about": "Made by models/starter/domain.py --export. A right answer to a fact's question holds the value, "
                     "to a neutral utterance all words of `expect`; case is ignored and words are whole.",
            "untold": "told", "facts": facts, "neutral": neutral}


def write(path: str) -> None:
    """Write the scenario as JSON."""
    scenario = build()
    Path(path).write_text(json.dumps(scenario, indent=1, ensure_ascii=False) + "\n")
    print(f"{path}: " + ", ".join(f"{f['kind']} {len(f['values'])}" for f in scenario["facts"])
          + f", {len(scenario['neutral'])} neutral utterances")
