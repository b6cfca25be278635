"""Score the exported language model on held-out talks: `python llm_eval.py --help`.

The model talks freely: its own answers, right or wrong, stand in the history. Facts are
pairs of kind and value that no training talk stated. Everything runs through the ONNX file
with a cache that grows over the talk, as in the server.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

import llm_data as data
import prompts
from domain import Talk, Turn
from llm_export import MAX_TOKENS, OUT, OnnxModel

SPEECH_NOISE = 0.10


class Conversation:
    """One talk with the model: feed text, get an answer, keep the cache."""

    def __init__(self, model: OnnxModel, encoder: data.Encoder) -> None:
        self.model, self.encoder = model, encoder
        self.cache, self.length, self.pending = model.empty(1), 0, []
        self.fed, self.made, self.feeding, self.making = 0, 0, 0.0, 0.0

    def _step(self, ids: list[int]) -> int:
        positions = np.arange(self.length, self.length + len(ids), dtype=np.int64)[None]
        self.length += len(ids)
        mask = np.ones((1, self.length), np.int64)
        logits, self.cache = self.model.step(np.array([ids], np.int64), mask, positions, self.cache)
        return int(logits[0].argmax())

    def say(self, messages: list[dict]) -> str:
        """Append messages and let the assistant answer."""
        self.pending += self.encoder.prompt(messages)
        began = time.perf_counter()
        token, answer = self._step(self.pending), []
        middle = time.perf_counter()
        self.feeding, self.fed = self.feeding + middle - began, self.fed + len(self.pending)
        while token not in (self.encoder.end, self.encoder.pad) and len(answer) < MAX_TOKENS:
            answer.append(token)
            token = self._step([token])
        self.making, self.made = self.making + time.perf_counter() - middle, self.made + len(answer)
        self.pending = [self.encoder.end, *self.encoder.ids("\n")]
        return self.encoder.tokenizer.decode(answer)


def holds(answer: str, phrase: str) -> bool:
    """Whether a phrase occurs as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(phrase.lower())}(?!\w)", answer.lower()) is not None


def is_right(turn: Turn, answer: str) -> bool:
    """All expected groups are there and nothing forbidden is."""
    return (all(any(holds(answer, alt) for alt in group) for group in turn.expect)
            and not any(holds(answer, word) for word in turn.forbid))


def same_call(answer: str, call: dict) -> bool:
    """Whether the answer is exactly this tool call."""
    match = re.fullmatch(r"\s*<tool_call>\s*(\{.*\})\s*</tool_call>\s*", answer, re.DOTALL)
    try:
        made = json.loads(match.group(1)) if match else None
    except json.JSONDecodeError:
        return False
    lower = lambda c: json.loads(json.dumps(c).lower())  # noqa: E731
    return made is not None and lower(made) == lower(call)


def play(rng: random.Random, talk: Conversation, noise: float, turns: int, report) -> None:
    """One held-out talk; `report(category, right, turn, answer)` is called for each turn."""
    built = Talk(rng, "heldout", kinds=rng.randint(2, 10))
    lower = noise > 0 and rng.random() < 0.5
    system = data.system_text(prompts.system_prompt(rng), [data.tool_text(rng, t) for t in built.tools])
    head = [data.message("system", system)] if system else []
    for _ in range(turns):
        turn = built.next()
        messages = data.turn_messages(rng, turn, lower, noise, cut=False)
        answer = talk.say([*head, messages[0]])
        head = []
        if turn.tool_call:
            right = same_call(answer, turn.tool_call)
            report("tool call", right, turn, answer)
            if not right:
                continue
            answer = talk.say([messages[2]])
        report(turn.category, is_right(turn, answer), turn, answer)


def score(model: OnnxModel, encoder: data.Encoder, args: argparse.Namespace, noise: float) -> dict:
    """Right-answer rates over many talks."""
    rng, right, seen, whole = random.Random(args.seed), Counter(), Counter(), 0
    timing = Counter()
    for number in tqdm(range(args.dialogues), desc=f"noise {noise}", mininterval=5):
        talk, errors = Conversation(model, encoder), []

        def report(category: str, ok: bool, turn: Turn, answer: str, errors=errors) -> None:
            seen[category] += 1
            right[category] += ok
            if not ok:
                errors.append((category, turn.user, answer, turn.expect))

        play(rng, talk, noise, rng.randint(args.low, args.high), report)
        whole += not errors
        for name in ("fed", "made", "feeding", "making"):
            timing[name] += getattr(talk, name)
        if number < args.show:
            print(*errors, sep="\n")
    return {
        "dialogues": args.dialogues, "turns": args.low if args.low == args.high else f"{args.low}-{args.high}",
        "answers": sum(seen.values()), "right": round(sum(right.values()) / sum(seen.values()), 4),
        "whole_dialogues_right": round(whole / args.dialogues, 4),
        "by_category": {c: {"answers": n, "right": round(right[c] / n, 4)} for c, n in sorted(seen.items())},
        "prefill_ms_per_token": round(1000 * timing["feeding"] / timing["fed"], 3),
        "decode_ms_per_token": round(1000 * timing["making"] / timing["made"], 3),
    }


def main() -> None:
    """Score clean and noisy talks and write scores.json."""
    parser = argparse.ArgumentParser(description="Score the exported starter language model.")
    parser.add_argument("--dialogues", type=int, default=500)
    parser.add_argument("--low", type=int, default=6, help="fewest turns of a talk")
    parser.add_argument("--high", type=int, default=12, help="most turns of a talk")
    parser.add_argument("--seed", type=int, default=99)
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the errors of the first N talks")
    parser.add_argument("--write", action="store_true", help="write llm/scores.json")
    parser.add_argument("--model", type=Path, default=OUT)
    args = parser.parse_args()
    model, encoder = OnnxModel(args.model / "onnx/model.onnx"), data.Encoder(str(args.model / "tokenizer.json"))
    scores = {"clean": score(model, encoder, args, 0.0), "speech_noise": score(model, encoder, args, SPEECH_NOISE)}
    args.low = args.high = 25
    args.dialogues //= 5
    scores["long_25_turns"] = score(model, encoder, args, 0.0)
    for name, result in scores.items():
        print(f"{name}: {result['right']:.1%} of {result['answers']} answers")
    print(json.dumps(scores["clean"], indent=1))
    if args.write:
        (args.model / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
