"""Training and test talks for the language model: messages, noise, tokens, loss weights.

A talk of `domain.py` is clean. Here it becomes what the server will really send: a
system prompt or none, text as a speech recogniser writes it, answers cut off by an
interruption, two user messages in a row.
"""

from __future__ import annotations

import json
import random
import re
from functools import lru_cache

import prompts
import smalltalk as talk
import tools as toolbox
import wording
from domain import Talk, Turn
from facts import Kind
from tokenizers import Tokenizer

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
VALUE_WEIGHT = 3.0  # of the words that must be copied
# What is rare or hard counts more in the loss.
CATEGORY_WEIGHTS = {"recall": 1.5, "recall two": 3.0, "recall all": 3.0, "correction": 1.5, "untold": 1.5,
                    "say after me": 1.5, "no tool": 3.0, "repeat": 2.0}
# Recognisers err on short words; content words carry the meaning and are kept.
SHORT_WORDS = set(
    "i am is the a an my to in of do you can please me it its this that have was on at for and so well um uh it's "
    "i'm what's your did we with as".split()
)


class TrainingTalk(Talk):
    """A talk whose values are often any word at all, so that copying is learnt and not a list."""

    def __init__(self, rng: random.Random, kinds: int, split: str = "train", odd: float = 0.35) -> None:
        super().__init__(rng, split, kinds)
        self.odd = odd
        self.lower = rng.random() < 0.3
        if not self.tools and rng.random() < 0.3:
            self.tools = toolbox.declare(rng)

    def moves(self):  # noqa: ANN201
        """Tools and lists come more often than in a talk: each city and number must be seen in a call many times."""
        more = {self.use_tool: 2.5, self.ask_all: 3.0, self.repeat: 1.5}
        return [(move, weight * more.get(move, 1.0)) for move, weight in super().moves()]

    def draw(self, kind: Kind) -> str:
        value = super().draw(kind)
        roll = self.rng.random()
        if roll < self.odd * 0.6 and kind.pool:
            word = self.rng.choice(wording.COPY_WORDS)
            word = word.capitalize() if value[0].isupper() else word
            value = value if wording.is_heldout(kind.key, word) else word
        elif roll < self.odd and kind.pool:
            word = prompts.pseudo_word(self.rng)
            value = word.capitalize() if value[0].isupper() else word
        return value.lower() if self.lower else value

    def off_topic(self) -> Turn:
        if self.rng.random() < 0.35:
            return super().off_topic()
        return Turn(prompts.foreign_question(self.rng), talk.REFUSAL, "refusal", [["sorry"]])


def noisy(rng: random.Random, text: str, rate: float, protected: set[str]) -> str:
    """Drop, double or swap short words at `rate`; never one of `protected`."""
    out = []
    for word in text.split(" "):
        bare = word.lower().strip(".,?!")
        if bare not in SHORT_WORDS or bare in protected or rng.random() > rate:
            out.append(word)
            continue
        roll = rng.random()
        if roll < 0.4:
            out.append(rng.choice(sorted(SHORT_WORDS)))
        elif roll < 0.5:
            out += [word, word]
    return " ".join(out) or text


def bare_text(text: str) -> str:
    """As a recogniser without punctuation writes it."""
    return re.sub(r"[.,?!]", "", text).lower()


def lower_values(answer: str) -> str:
    """Names in the answer as the user's lower-case text had them; sentence starts stay."""
    def fix(match: re.Match[str]) -> str:
        word = match.group(0)
        known = word in wording.CAPITALS and word not in ("I", "Antiphon", "English")
        return word.lower() if known else word
    return re.sub(r"(?<![.!?] )(?<!^)\b[A-Z][a-z]*", fix, answer)


def message(role: str, content: str, weight: float = 0.0, values: tuple = ()) -> dict:
    """One chat message, the weight of its tokens in the loss, and the words that weigh more."""
    return {"role": role, "content": content, "weight": weight, "values": values}


def call_text(call: dict) -> str:
    """A tool call as the model writes it."""
    return "<tool_call>\n" + json.dumps(call, ensure_ascii=False) + "\n</tool_call>"


def turn_messages(rng: random.Random, turn: Turn, lower: bool, rate: float, cut: bool) -> list[dict]:
    """The messages of one turn; `cut` breaks the answer off, as an interruption does."""
    protected = {w for group in [*turn.expect, turn.forbid] for alt in group for w in wording.spoken_words(alt)}
    user = noisy(rng, turn.user, rate, protected) if rate else turn.user
    answer = turn.assistant
    if lower:
        user, answer = bare_text(user), lower_values(answer)
    out = [message("user", user)]
    if turn.tool_call:
        call = dict(turn.tool_call)
        if lower and "arguments" in call:
            call["arguments"] = {k: v.lower() if isinstance(v, str) else v for k, v in call["arguments"].items()}
        values = (call["name"], *(f'"{v}"' if isinstance(v, str) else f" {v}" for v in call["arguments"].values()))
        out += [message("assistant", call_text(call), 2.5, values), message("tool", turn.tool_result or "")]
    if cut:
        words = answer.split(" ")
        out.append(message("assistant", " ".join(words[: rng.randint(1, len(words))]), 0.0))
    else:
        weight = CATEGORY_WEIGHTS.get(turn.category, 1.0)
        values = tuple(alt for group in turn.expect for alt in group) if turn.category != "small talk" else ()
        out.append(message("assistant", answer, weight, values))
    return out


def tool_text(rng: random.Random, tool: dict) -> str:
    """A declaration as different servers write it: key order, spacing and nesting differ."""
    shape = rng.random()
    if shape < 0.15:
        tool = {"type": "function", **tool["function"]}
    elif shape < 0.25:
        tool = tool["function"]
    spacing = rng.choice([None, (",", ":")])
    return json.dumps(tool, ensure_ascii=False, separators=spacing, sort_keys=rng.random() < 0.5)


def system_text(prompt: str | None, tools: list[str]) -> str | None:
    """The system message with the declared tools; the chat template writes the same."""
    if not tools:
        return prompt
    lines = "\n".join(tools)
    head = f"{prompt}\n\n" if prompt else ""
    return f"{head}# Tools\n<tools>\n{lines}\n</tools>"


def training_messages(rng: random.Random, low: int, high: int, drill: float = 0.0) -> list[dict]:
    """One training talk of `low`..`high` turns as messages; a share `drill` of the turns is plain copying."""
    built = TrainingTalk(rng, kinds=rng.randint(1, 12))
    turns = [built.say_after_me() if rng.random() < drill else built.next() for _ in range(rng.randint(low, high))]
    rate = rng.choice([0.0, 0.0, 0.05, 0.12])
    system = system_text(prompts.system_prompt(rng), [tool_text(rng, t) for t in built.tools])
    out = [message("system", system)] if system else []
    if rng.random() < 0.08:
        out.append(message("assistant", "Hello! How can I help you?", 0.0))
    for i, turn in enumerate(turns):
        needed = i + 1 < len(turns) and turns[i + 1].category == "repeat"
        cut = not needed and not turn.tool_call and rng.random() < 0.07
        part = turn_messages(rng, turn, built.lower, rate, cut)
        if not needed and turn.category in ("small talk", "statement") and rng.random() < 0.04:
            part = part[:1]
        out += part
    return out


class Encoder:
    """Messages to token ids and weights, one message at a time: the same ids as the chat template gives."""

    def __init__(self, path: str) -> None:
        self.tokenizer = Tokenizer.from_file(path)
        self.start, self.end = self.tokenizer.token_to_id(START), self.tokenizer.token_to_id(END)
        self.pad = self.tokenizer.token_to_id(PAD)
        self.ids = lru_cache(maxsize=50_000)(lambda text: self.tokenizer.encode(text).ids)

    def encode(self, messages: list[dict]) -> tuple[list[int], list[float]]:
        """Ids of the whole talk, and for each id its weight as a target."""
        ids, weights = [], []
        for m in messages:
            head, body, tail = [self.start, *self.ids(m["role"] + "\n")], self.ids(m["content"]), self.ids("\n")
            ids += [*head, *body, self.end, *tail]
            weights += [0.0] * len(head) + self._weigh(m, len(body)) + [m["weight"]] + [0.0] * len(tail)
        return ids, weights

    def _weigh(self, m: dict, count: int) -> list[float]:
        """Weights of the content's tokens; values, which must be copied, count `VALUE_WEIGHT` times."""
        weights = [m["weight"]] * count
        if m["weight"] and m.get("values"):
            lower = m["content"].lower()
            spans = [(at, at + len(v)) for v in m["values"] if (at := lower.find(v.lower())) >= 0]
            for i, (low, high) in enumerate(self.tokenizer.encode(m["content"]).offsets):
                if any(low < end and high > start for start, end in spans):
                    weights[i] *= VALUE_WEIGHT
        return weights

    def prompt(self, messages: list[dict]) -> list[int]:
        """Ids up to the point where the assistant speaks."""
        return self.encode(messages)[0] + [self.start, *self.ids("assistant\n")]
