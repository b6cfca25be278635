"""Score the starter Whisper on held-out sentences in held-out voices, and on sounds that hold none.

Through whisper.cpp itself where `pywhispercpp` is installed (on the exported file), else through
the PyTorch network, which computes the same. Writes `scores.json` beside the weights.
"""

import argparse
import json
import pickle
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import domain
import stt_voice as voice
from stt_model import (BUILD, OUTPUT, SAMPLE_RATE, Tokenizer, audio_context, load_checkpoint,
                       log_mel, normalise)


def edits(said: list[str], heard: list[str]) -> int:
    """Words to insert, delete or replace: the numerator of the word error rate."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


class Score:
    """Counts over a set of sentences."""

    def __init__(self):
        self.sentences = self.words = self.errors = self.exact = self.marks = 0

    def add(self, said: str, heard: str) -> None:
        a, b = domain.spoken_words(said), domain.spoken_words(heard)
        wrong = edits(a, b)
        self.sentences += 1
        self.words += len(a)
        self.errors += wrong
        self.exact += wrong == 0
        due = said[-1] if said[-1] in ".?" else ""
        self.marks += due == (heard[-1] if heard[-1:] in (".", "?") else "")

    def report(self) -> dict:
        n = max(1, self.sentences)
        return {"sentences": self.sentences, "words": self.words,
                "word_error_rate": round(self.errors / max(1, self.words), 4),
                "exact_sentences": round(self.exact / n, 4), "final_mark_right": round(self.marks / n, 4)}


class Network:
    """Recognises with PyTorch, batches of one length at a time."""

    name = "PyTorch"

    def __init__(self, model, tokenizer: Tokenizer):
        self._model, self._tokenizer = model, tokenizer

    def transcribe(self, clips: list[np.ndarray]) -> list[str]:
        texts = [""] * len(clips)
        groups: dict[int, list[int]] = {}
        for i, pcm in enumerate(clips):
            groups.setdefault(audio_context(len(pcm)), []).append(i)
        for n_ctx, members in groups.items():
            for part in (members[k : k + 32] for k in range(0, len(members), 32)):
                mels = np.stack([normalise(log_mel(clips[i]), n_ctx) for i in part])
                for i, ids in zip(part, self._model.transcribe(torch.from_numpy(mels)), strict=True):
                    texts[i] = self._tokenizer.decode(ids)
        return texts


class WhisperCpp:
    """Recognises with whisper.cpp, as the server does: greedy, no timestamps, fitted audio_ctx."""

    name = "whisper.cpp"

    def __init__(self, path: Path):
        from pywhispercpp.model import Model

        # Flash attention in whisper.cpp attends to the padding behind a fitted audio_ctx.
        self._model = Model(str(path), n_threads=1, print_progress=False, print_realtime=False,
                            context_params={"use_gpu": False, "flash_attn": False},
                            no_timestamps=True, single_segment=True, no_context=True, temperature_inc=0.0)
        self.milliseconds: list[float] = []

    def transcribe(self, clips: list[np.ndarray]) -> list[str]:
        texts = []
        for pcm in tqdm(clips, desc=self.name, mininterval=5):
            begin = time.perf_counter()
            segments = self._model.transcribe(pcm, audio_ctx=audio_context(len(pcm)))
            self.milliseconds.append(1000 * (time.perf_counter() - begin))
            texts.append("".join(s.text for s in segments).strip())
        return texts


def with_silence(pcm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a voice activity detector hands over: up to 0.4 s before, 0.1-0.6 s after."""
    return np.pad(pcm, (int(rng.uniform(0, 0.4) * SAMPLE_RATE), int(rng.uniform(0.1, 0.6) * SAMPLE_RATE)))


def noisy(pcm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White to brown noise at 10-25 dB below the speech, and a gain of -20 to 0 dB."""
    loud = pcm[np.abs(pcm) > 0.01]
    level = np.sqrt((loud**2).mean()) if len(loud) else 0.1
    noise = voice.coloured_noise(rng, len(pcm), rng.uniform(0, 2)) * level * 10 ** (-rng.uniform(10, 25) / 20)
    return ((pcm + noise) * 10 ** (-rng.uniform(0, 20) / 20)).astype(np.float32)


def heldout(build: Path, limit: int, seed: int) -> dict[str, list[tuple[str, str, np.ndarray]]]:
    """(voice, text, samples) by condition."""
    rng = np.random.default_rng(seed)
    stored = pickle.loads((build / "heldout.pickle").read_bytes())[:limit]
    clean = [(name, text, with_silence(pcm.astype(np.float32) / 32_768, rng))
             for name, text, pcm, _ in stored]
    phone = [(name, text, voice.telephone(pcm)) for name, text, pcm in clean]
    return {"clean": clean, "noisy": [(name, text, noisy(pcm, rng)) for name, text, pcm in clean],
            "telephone": phone, "cut short": [c for item in stored if (c := cut_short(item, rng))]}


def cut_short(item: tuple, rng: np.random.Generator) -> tuple[str, str, np.ndarray] | None:
    """A sentence that stops before one of its words, then 0.3 s of silence: no final mark is due."""
    name, text, pcm, starts = item
    words = text.split(" ")
    places = [k for k in range(1, len(words))
              if starts[k] > starts[k - 1] + 0.04 and words[k - 1][-1] not in ".?"]
    if not places:
        return None
    k = int(rng.choice(places))
    kept = pcm[: int(starts[k] * SAMPLE_RATE)].astype(np.float32) / 32_768
    return name, " ".join(words[:k]).rstrip(","), np.pad(kept, (0, int(0.3 * SAMPLE_RATE)))


def score_speech(recogniser, sets: dict) -> dict:
    """Scores by condition, and by voice where it is clean."""
    out = {}
    for condition, items in sets.items():
        heard = recogniser.transcribe([pcm for _, _, pcm in items])
        scores = {name: Score() for name in ("all", *voice.HELDOUT_VOICES)}
        for (name, text, _), got in zip(items, heard, strict=True):
            scores["all"].add(text, got)
            scores[name].add(text, got)
        out[condition] = scores["all"].report()
        if condition == "clean":
            out["voices"] = {n: s.report()["word_error_rate"] for n, s in scores.items() if n != "all"}
    return out


def score_sounds(recogniser, count: int, seed: int) -> dict:
    """Share of clips without speech that still gave text, by kind."""
    out = {}
    for kind in [*voice.NON_SPEECH, "silence"]:
        clips = [voice.non_speech(np.random.default_rng([seed, i]), kind) for i in range(count)]
        heard = recogniser.transcribe(clips)
        out[kind] = round(sum(bool(text) for text in heard) / count, 4)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=OUTPUT / "ggml-starter.bin")
    parser.add_argument("--checkpoint", type=Path, default=BUILD / "last.pt")
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--sentences", type=int, default=900)
    parser.add_argument("--sounds", type=int, default=40, help="clips of each kind")
    parser.add_argument("--torch", action="store_true", help="do not use whisper.cpp")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, default=OUTPUT / "scores.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        recogniser = None if args.torch else WhisperCpp(args.model)
    except ImportError:
        recogniser = None
    if recogniser is None:
        recogniser = Network(load_checkpoint(args.checkpoint), Tokenizer.load(args.build / "words.json"))
    scores = {"recogniser": recogniser.name, **score_speech(recogniser, heldout(args.build, args.sentences, args.seed)),
              "text_from_non_speech": score_sounds(recogniser, args.sounds, args.seed)}
    if isinstance(recogniser, WhisperCpp):
        scores["median_ms_per_clip"] = round(float(np.median(recogniser.milliseconds)), 1)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(scores, indent=2) + "\n")
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
