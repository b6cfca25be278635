"""The dialogue domain that both starter models are trained on.

What a user can say here is what the speech recogniser learns to write, and what the
language model learns to answer: facts about oneself that are asked back some turns
later, among greetings, orders, chatter, sums, timers and questions that it must
refuse. Only the standard library is used, and everything follows from the `rng`
that the caller passes, so a seed names a corpus.

Read first: `user_utterance` (one thing a user says) and `dialogue` (a whole talk).
`VOCABULARY` holds every word a user can say, lower-case.

Held-out talks (`split="heldout"`) use pairs of fact and value that no training talk
has stated (`is_heldout`), so a right answer cannot be a memory of the training set.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import lexicon as lex
import smalltalk as talk
import tools as toolbox
from facts import BY_KEY, KINDS, Kind, fill
from wording import (CAPITALS, COPY_WORDS, VOCABULARY, cased, decorate, draw_value, fill_slots, is_heldout, mark_of,
                     sentence, spoken_words)

__all__ = ["VOCABULARY", "Dialogue", "Talk", "Turn", "cased", "dialogue", "is_heldout", "sentence", "spoken_words",
           "user_utterance"]
RELATED = {*lex.RELATIONS, "dog", "cat", "bird", "pony"}
MAX_WORDS = 32


# --- talks --------------------------------------------------------------------------


@dataclass
class Turn:
    """One user utterance and its right answer.

    `expect` lists groups of alternatives: a right answer has one of each group, as a
    whole word in any case. `forbid` words make an answer wrong. A tool turn carries the
    call the assistant must make first, and what the tool returned.
    """

    user: str
    assistant: str
    category: str
    expect: list[list[str]] = field(default_factory=list)
    forbid: list[str] = field(default_factory=list)
    tool_call: dict | None = None
    tool_result: str | None = None


@dataclass
class Dialogue:
    """A talk: the tools that the prompt declares (often none) and the turns."""

    tools: list[dict]
    turns: list[Turn]


class Talk:
    """Builds one talk turn by turn and keeps what the user has told so far."""

    def __init__(self, rng: random.Random, split: str, kinds: int = 8) -> None:
        self.rng, self.split = rng, split
        order = sorted(KINDS, key=lambda k: rng.random() ** (1.0 if k.key in RELATED else 2.5))  # oneself first
        self.kinds = order[:kinds]
        if rng.random() < 0.6 and all(k.key != "name" for k in self.kinds):
            self.kinds[0] = KINDS[0]
        self.known: dict[str, str] = {}
        self.order: str | None = None
        self.last_answer: str | None = None
        self.tools = toolbox.declare(rng) if rng.random() < 0.35 else []

    def draw(self, kind: Kind) -> str:
        """The value of a new fact."""
        return draw_value(self.rng, kind, self.split)

    def _kind(self, told: bool) -> Kind | None:
        fitting = [k for k in self.kinds if (k.key in self.known) == told]
        return self.rng.choice(fitting) if fitting else None

    def state(self) -> Turn | None:
        """One or two facts that were not told yet."""
        kind = self._kind(told=False)
        if kind is None:
            return None
        value = self.known[kind.key] = self.draw(kind)
        clause = fill(self.rng.choice(kind.statements), value)
        answer, expect = fill(self.rng.choice(kind.acks), value), [[value]]
        second = self._kind(told=False) if self.rng.random() < 0.3 else None
        if second is None:
            return Turn(sentence(decorate(self.rng, clause, False)), sentence(answer), "statement", expect)
        other = self.known[second.key] = self.draw(second)
        more = fill(self.rng.choice(second.statements), other)
        joint = self.rng.choice([" and ", " and ", ", and ", " but ", ". "])
        user = sentence(clause) + " " + sentence(more) if joint == ". " else sentence(clause + joint + more)
        answer = sentence(answer) + " " + sentence(fill(self.rng.choice(second.acks), other))
        return Turn(user, answer, "statement", [*expect, [other]])

    def correct(self) -> Turn | None:
        """A fact told anew: the latest value counts."""
        kind = self._kind(told=True)
        if kind is None:
            return None
        old = self.known[kind.key]
        value = self.draw(kind)
        if value == old:
            return None
        self.known[kind.key] = value
        user = sentence(fill(self.rng.choice(kind.correct), value))
        answer = "Okay, " + fill(kind.answer, value) + "."
        return Turn(user, sentence(answer, " ").strip(), "correction", [[value]])

    def _answer(self, kind: Kind) -> tuple[str, list[list[str]]]:
        value = self.known.get(kind.key)
        if value is None:
            return f"you have not told me {kind.noun} yet", [["not told"]]
        return fill(kind.answer, value), [[value]]

    def ask(self) -> Turn | None:
        """A told fact asked back, sometimes two at once."""
        kind = self._kind(told=True)
        if kind is None:
            return None
        question, (answer, expect) = self.rng.choice(kind.questions), self._answer(kind)
        others = [k for k in self.kinds if k is not kind]
        if self.rng.random() > 0.15 or not others:
            return Turn(sentence(decorate(self.rng, question, True), mark_of(question)), sentence(answer), "recall",
                        expect, self._wrong(kind))
        second = self.rng.choice(others)
        more, more_expect = self._answer(second)
        joint = " and " if second.key in self.known else ", but "
        user = sentence(f"{question} and {self.rng.choice(second.questions)}")
        return Turn(user, sentence(answer + joint + more), "recall two", [*expect, *more_expect])

    def _wrong(self, kind: Kind) -> list[str]:
        right = self.known[kind.key].lower().split()
        return [v for k, v in self.known.items() if k != kind.key and not set(v.lower().split()) & set(right)]

    def ask_untold(self) -> Turn | None:
        """A fact that was never told: the honest answer is that it was not."""
        fitting = [k for k in KINDS if k.key not in self.known]
        kind = self.rng.choice(fitting)
        answer, expect = self._answer(kind)
        question = self.rng.choice(kind.questions)
        user = sentence(decorate(self.rng, question, True), mark_of(question))
        return Turn(user, sentence(answer), "untold", expect, list(self.known.values()))

    def small_talk(self) -> Turn:
        """A greeting, a piece of chatter, a story."""
        name, users, answers = self.rng.choice(talk.INTENTS)
        user, answer = fill_slots(self.rng, self.rng.choice(users), self.rng.choice(answers))
        return Turn(sentence(decorate(self.rng, user, False), mark_of(user)), sentence(answer, " ").strip(), "small talk",
                    [spoken_words(answer)[:1]], tool_call=None)

    def ask_all(self) -> Turn:
        """Everything told so far; three facts are as much as one says in a breath."""
        told = list(self.known.items())[:3]
        user = sentence(self.rng.choice(talk.ASK_ALL))
        if not told:
            return Turn(user, "You have not told me anything yet.", "untold", [["not told"]])
        parts = [self._answer(BY_KEY[key])[0] for key, _ in told]
        answer = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
        return Turn(user, sentence(answer), "recall all", [[value] for _, value in told])

    def place_order(self) -> Turn:
        """Pizza or coffee; the answer repeats the order."""
        phrase = self.rng.choice(talk.ORDER_PHRASES + talk.CUP_PHRASES)
        thing = "a {size} {order} with {topping}" if "{order}" in phrase else "a {size} {cup}"
        user, self.order = fill_slots(self.rng, phrase, thing)
        return Turn(sentence(decorate(self.rng, user, False), mark_of(user)), f"Sure, {self.order} for you.", "order",
                    [[w] for w in spoken_words(self.order)[1:]])

    def ask_order(self) -> Turn:
        """The order asked back, told or not."""
        user = sentence(self.rng.choice(talk.ORDER_QUESTIONS))
        if self.order is None:
            return Turn(user, "You have not ordered anything yet.", "untold", [["not ordered"]])
        return Turn(user, f"You ordered {self.order}.", "recall", [[w] for w in spoken_words(self.order)[1:]])

    def repeat(self) -> Turn | None:
        """The last answer again."""
        if not self.last_answer or len(self.last_answer) > 120:
            return None
        user = sentence(self.rng.choice(talk.REPEAT_REQUESTS))
        return Turn(user, self.last_answer, "repeat", [[w] for w in spoken_words(self.last_answer)])

    def say_after_me(self) -> Turn:
        """Any words repeated: the purest exercise in copying."""
        x = " ".join(self.rng.choice(COPY_WORDS) for _ in range(self.rng.randint(1, 5)))
        user = sentence(self.rng.choice(talk.SAY_AFTER_ME).replace("{x}", x), ".")
        return Turn(user, f"Okay, {x}.", "say after me", [[w] for w in spoken_words(x)])

    def add(self) -> Turn:
        """A sum of two small numbers."""
        a, b = self.rng.randint(0, 10), self.rng.randint(0, 10)
        a_word, b_word, total = lex.spelled(a), lex.spelled(b), lex.spelled(a + b)
        question = self.rng.choice(talk.SUM_QUESTIONS).replace("{a}", a_word).replace("{b}", b_word)
        return Turn(sentence(decorate(self.rng, question, True), mark_of(question)),
                    f"That makes {total}.", "sum", [[total]])

    def off_topic(self) -> Turn:
        """A question that only a larger model could answer."""
        (user,) = fill_slots(self.rng, self.rng.choice(talk.OFF_TOPIC))
        return Turn(sentence(decorate(self.rng, user, True), mark_of(user)), talk.REFUSAL, "refusal", [["sorry"]])

    def use_tool(self) -> Turn:
        """Weather, timer or clock: through a declared tool, or an honest no."""
        request = toolbox.request(self.rng, self.tools)
        user = sentence(decorate(self.rng, request.user, True), mark_of(request.user))
        return Turn(user, sentence(request.answer, " ").strip(), "tool" if request.call else "no tool",
                    request.expect, [], request.call, request.result)

    def moves(self) -> list[tuple[Callable[[], Turn | None], float]]:
        """What a turn can be, and how often it is."""
        return [(self.state, 26), (self.ask, 34), (self.correct, 6), (self.ask_untold, 7),
                (self.small_talk, 14), (self.place_order, 3), (self.ask_order, 3), (self.repeat, 3),
                (self.say_after_me, 4), (self.add, 5), (self.ask_all, 2), (self.off_topic, 4),
                (self.use_tool, 20 if self.tools else 2)]

    def next(self) -> Turn:
        """One more turn, drawn by weight; a kind of turn that does not fit now is drawn again."""
        moves, weights = zip(*self.moves(), strict=True)
        while True:
            (move,) = self.rng.choices(moves, weights)
            turn = move()
            if turn is not None and len(spoken_words(turn.user)) <= MAX_WORDS:
                self.last_answer = turn.assistant
                return turn


def dialogue(rng: random.Random, split: str = "train", turns: int | None = None) -> Dialogue:
    """A talk of 6 to 12 turns (or `turns`); `split` is `train`, `heldout` or `any`."""
    length = turns or rng.randint(6, 12)
    built = Talk(rng, split, kinds=rng.randint(2, 10))
    return Dialogue(tools=built.tools, turns=[built.next() for _ in range(length)])


# --- single utterances, for speech --------------------------------------------------


def _number_row(rng: random.Random) -> str:
    """Numbers as people read them out: digits, quantities, counting."""
    if rng.random() < 0.5:
        return " ".join(rng.choice(lex.DIGITS) for _ in range(rng.randint(1, 10)))
    return ", ".join(lex.spelled(rng.choice([rng.randint(0, 20), rng.randint(0, 100), rng.randint(0, 9999)]))
                     for _ in range(rng.randint(1, 4)))


def _word_salad(rng: random.Random) -> str:
    """Words in no order, so that no word is known by its neighbours only."""
    count = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 10, 12])
    return rng.choice([" ", ", "]).join(cased(rng.choice(VOCABULARY)) for _ in range(count))


def _one_turn(rng: random.Random) -> str:
    built = Talk(rng, "any", kinds=3)
    for kind in built.kinds[:2]:
        built.known[kind.key] = draw_value(rng, kind, "any")
    return built.next().user


def user_utterance(rng: random.Random) -> str:
    """One thing a user says, 1 to 32 words, with capitals and punctuation."""
    roll = rng.random()
    if roll < 0.60:
        text = _one_turn(rng)
    elif roll < 0.76:
        first, second = _one_turn(rng), _one_turn(rng)
        joint = rng.choice([" ", ", and ", " and "])
        text = f"{first} {second}" if joint == " " else first[:-1] + joint + _lower_first(second)
    elif roll < 0.82:
        text = sentence(_number_row(rng), ".")
    else:
        text = sentence(_word_salad(rng), ".")
    return text if len(spoken_words(text)) <= MAX_WORDS else user_utterance(rng)


def _lower_first(text: str) -> str:
    head = text.split(" ")[0].strip(".,?")
    return text if head in CAPITALS or head.startswith("I'") else text[0].lower() + text[1:]


# --- command line -------------------------------------------------------------------


def _check(count: int, seed: int) -> None:
    """Report how often each word occurs, and fail on a word that is outside VOCABULARY."""
    rng, seen, lengths = random.Random(seed), dict.fromkeys(VOCABULARY, 0), []
    for _ in range(count):
        said = spoken_words(user_utterance(rng))
        lengths.append(len(said))
        for word in said:
            seen[word] += 1  # a KeyError here is a word that the vocabulary lacks
    lengths.sort()
    rare = sorted(seen, key=seen.get)[:10]
    print(f"{len(VOCABULARY)} words, {count} utterances, median length {lengths[count // 2]}, "
          f"longest {lengths[-1]}; rarest: {', '.join(f'{w} {seen[w]}' for w in rare)}")


def main() -> None:
    """Print samples, check the vocabulary, or write the load tester's scenario."""
    parser = argparse.ArgumentParser(description="Samples and checks of the starter domain.")
    parser.add_argument("--sample", type=int, metavar="N", help="print N utterances")
    parser.add_argument("--dialogues", type=int, metavar="N", help="print N talks")
    parser.add_argument("--split", choices=["train", "heldout", "any"], default="train")
    parser.add_argument("--check", type=int, metavar="N", help="count words in N utterances")
    parser.add_argument("--export", metavar="FILE", help="write the load tester's scenario file")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    for _ in range(args.sample or 0):
        print(user_utterance(rng))
    for _ in range(args.dialogues or 0):
        for turn in (built := dialogue(rng, args.split)).turns:
            call = f"  [{turn.tool_call} -> {turn.tool_result}]" if turn.tool_call else ""
            print(f"U: {turn.user}\nA: {turn.assistant}{call}  ({turn.category} {turn.expect})")
        print(f"-- {len(built.tools)} tools\n")
    if args.check:
        _check(args.check, args.seed)
    if args.export:
        import scenario

        scenario.write(args.export)


if __name__ == "__main__":
    main()
