"""Make the training data of the starter Whisper: synthetic speech and sounds that are not speech.

Sentences come from `domain.py`, speech from espeak-ng. What is stored is the log-mel
spectrogram before Whisper's clamp (one byte a value), with the time of every word, so that
training can cut, pad, attenuate and add noise to an utterance anew each time it is read.
Held-out sentences in held-out voices are stored as samples, for the evaluation. The accents of those
voices are in the training data too, from other speakers.
"""

import argparse
import multiprocessing
import os
import pickle
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# Before numpy starts: each worker has one thread, or they get in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from tqdm import tqdm

import domain
import stt_voice as voice
from stt_model import BUILD, HOP, MEL_FLOOR, SAMPLE_RATE, Tokenizer, log_mel

MAX_SECONDS = 12.2
MEL_TOP = 5.0
# A prefix that ends on one of these cannot be a whole sentence.
OPEN_ENDS = set(
    "a an the my to and of for with is in at on or but i you your what who where when which how why "
    "can could do does are was have has please tell give set want like need called named from it's "
    "i'm so because then about into some this that large small medium favourite".split())


@dataclass
class Line:
    """One utterance to synthesise: what is written, and how it is spoken."""

    written: str
    spoken: str
    seed: int


@dataclass
class Utterance:
    """One stored utterance; times are in mel frames of 10 ms from its own start."""

    mel: np.ndarray  # uint8 [frames, 80]
    pieces: list[str]
    words: list[str]
    starts: list[int]


def to_bytes(mel: np.ndarray) -> np.ndarray:
    scaled = (mel - MEL_FLOOR) * (255.0 / (MEL_TOP - MEL_FLOOR))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def from_bytes(data: np.ndarray) -> np.ndarray:
    return data.astype(np.float32) * ((MEL_TOP - MEL_FLOOR) / 255.0) + MEL_FLOOR


# --- what is said ---------------------------------------------------------------------


def open_prefix(rng: random.Random, text: str) -> str | None:
    """The start of a sentence up to a word that wants more, without a final mark."""
    words = text.split()
    ends = [i for i, w in enumerate(words[:-1], 1) if w.lower() in OPEN_ENDS]
    return " ".join(words[: rng.choice(ends)]) if ends else None


def rare_words(rng: random.Random, counts: Counter) -> str:
    """A row of words, the rarer the likelier."""
    weights = [(counts[w] + 5.0) ** -0.7 for w in domain.VOCABULARY]
    count = rng.choice([2, 3, 4, 4, 5, 5, 6, 7])
    row = [domain.cased(w) for w in rng.choices(domain.VOCABULARY, weights, k=count)]
    return domain.sentence(rng.choice([" ", " ", ", "]).join(row), ".")


def heldout_texts(rng: random.Random, count: int) -> list[str]:
    """Sentences of four words or more; they are kept out of the training data."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        text = domain.user_utterance(rng)
        if len(domain.spoken_words(text)) >= 4:
            texts[text] = None
    return list(texts)


def training_lines(rng: random.Random, count: int, excluded: set[str]) -> list[Line]:
    """The training sentences: the domain's, rows of rare words, and unfinished ones."""
    lines: list[Line] = []
    counts: Counter = Counter()
    while len(lines) < count:
        roll = rng.random()
        text = rare_words(rng, counts) if roll < 0.12 else domain.user_utterance(rng)
        if text in excluded:
            continue
        spoken = text
        if roll > 0.94:
            prefix = open_prefix(rng, text)
            if prefix is None:
                continue
            # A comma keeps the voice up; both ways of stopping occur.
            text, spoken = prefix, prefix + rng.choice(["", ","])
        counts.update(domain.spoken_words(text))
        lines.append(Line(text, spoken, rng.getrandbits(32)))
    return lines


# --- how it sounds --------------------------------------------------------------------

_speaker: voice.Speaker | None = None


def _start_worker() -> None:
    global _speaker
    _speaker = voice.Speaker()


def _degrade(pcm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Some lines through a room, some through a telephone."""
    if rng.random() < 0.1:
        pcm = voice.room(pcm, rng)
    return voice.telephone(pcm) if rng.random() < 0.06 else pcm


def speak(line: Line, voices: list[str], vary: bool = True) -> tuple[np.ndarray, list[float]]:
    """Samples at 16 kHz with the silence around them cut off, and the start of each spoken piece."""
    rng = np.random.default_rng(line.seed)
    name = voices[rng.integers(len(voices))]
    spread = {"rate": int(rng.integers(140, 201)), "pitch": int(rng.integers(30, 71)),
              "spread": int(rng.integers(30, 75))}
    pcm, marks = _speaker.say(line.spoken, name, **spread)
    pcm = voice.resample(pcm, 22_050, SAMPLE_RATE, rng.uniform(6_800, 7_950) if vary else 7_900.0)
    pcm = pcm * (0.9 / (np.abs(pcm).max() + 1e-9))
    loud = np.flatnonzero(np.abs(pcm) > 0.004)
    first, last = (loud[0], loud[-1] + 1) if len(loud) else (0, len(pcm))
    pcm = pcm[first:last]
    if vary:
        pcm = _degrade(pcm, rng)
    return pcm, _piece_starts(line.spoken, marks, first / SAMPLE_RATE)


def _piece_starts(text: str, marks: list[tuple[int, float]], trimmed: float) -> list[float]:
    """Seconds at which each word of `text` starts; a word without a mark takes its neighbour's."""
    at = dict(reversed(marks))
    starts, position, last = [], 0, 0.0
    for word in text.split(" "):
        last = max(last, at.get(position, last + trimmed) - trimmed)
        starts.append(last)
        position += len(word) + 1
    return starts


def make_utterance(line: Line) -> Utterance | None:
    """Synthesise one training line; None where it is too long."""
    pcm, starts = speak(line, voice.TRAIN_VOICES)
    if len(pcm) > MAX_SECONDS * SAMPLE_RATE:
        return None
    return Utterance(to_bytes(log_mel(pcm)), Tokenizer.split(line.written), line.written.split(" "),
                     [round(s * SAMPLE_RATE / HOP) for s in starts])


def make_sound(seed: int) -> Utterance:
    """One sound that must be transcribed to nothing."""
    pcm = voice.non_speech(np.random.default_rng(seed))
    return Utterance(to_bytes(log_mel(pcm)), [], [], [])


def make_heldout(line: Line) -> tuple[str, str, np.ndarray, list[float]]:
    """(voice, text, samples, seconds at which words start) of one held-out sentence."""
    name = voice.HELDOUT_VOICES[line.seed % len(voice.HELDOUT_VOICES)]
    pcm, starts = speak(line, [name], vary=False)
    return name, line.written, (pcm * 32_767).astype(np.int16), starts


# --- storing --------------------------------------------------------------------------


class Store:
    """Spectrograms in one flat file, everything else in one pickle beside it."""

    def __init__(self, folder: Path, name: str):
        self._index_path = folder / f"{name}.pickle"
        self._file = (folder / f"{name}.mel").open("wb")
        self._index: list[tuple] = []
        self._frames = 0

    def add(self, item: Utterance) -> None:
        self._file.write(item.mel.tobytes())
        self._index.append((self._frames, len(item.mel), item.pieces, item.words, item.starts))
        self._frames += len(item.mel)

    def close(self) -> float:
        """Finish, and return the hours stored."""
        self._file.close()
        self._index_path.write_bytes(pickle.dumps(self._index))
        return self._frames / 360_000


def store_all(pool, work, items: list, folder: Path, name: str) -> None:
    store = Store(folder, name)
    for made in tqdm(pool.imap(work, items, chunksize=64), total=len(items), desc=name, mininterval=5):
        if made is not None:
            store.add(made)
    print(f"{name}: {store.close():.1f} hours")


def store_heldout(pool, lines: list[Line], folder: Path) -> None:
    made = list(tqdm(pool.imap(make_heldout, lines, chunksize=16), total=len(lines), desc="heldout"))
    made = [m for m in made if len(m[2]) < MAX_SECONDS * SAMPLE_RATE]
    (folder / "heldout.pickle").write_bytes(pickle.dumps(made))


def store_lexicon(folder: Path) -> None:
    """The words (for the tokens) and their phonemes (targets of the encoder's own loss)."""
    Tokenizer(domain.VOCABULARY).save(folder / "words.json")
    speaker = voice.Speaker()
    phonemes = {w: speaker.phonemes(w) for w in domain.VOCABULARY}
    (folder / "phonemes.pickle").write_bytes(pickle.dumps(phonemes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--sounds", type=int, default=3_000, help="clips that are not speech")
    parser.add_argument("--heldout", type=int, default=900)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=Path, default=BUILD)
    args = parser.parse_args()
    args.build.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)
    held = heldout_texts(rng, args.heldout)
    held_lines = [Line(t, t, rng.getrandbits(32)) for t in held]
    store_lexicon(args.build)
    with multiprocessing.Pool(args.processes, _start_worker) as pool:
        store_heldout(pool, held_lines, args.build)
        store_all(pool, make_sound, [args.seed * 1_000_000 + i for i in range(args.sounds)], args.build, "sounds")
        lines = training_lines(rng, args.utterances, set(held))
        store_all(pool, make_utterance, lines, args.build, "train")


if __name__ == "__main__":
    main()
