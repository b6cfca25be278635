"""Batches for training the starter Whisper: each reading of an utterance sounds different.

The stored spectrogram is cut, warped in frequency, padded with silence, attenuated, tilted and mixed with noise,
then clamped and scaled as whisper.cpp does. Utterances of about one length go together.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import domain
import stt_voice as voice
from stt_data import from_bytes
from stt_model import (HOP, MEL_FLOOR, N_MELS, SAMPLE_RATE, Tokenizer, audio_context, log_mel, mel_edges,
                       normalise)

POSITIONS = 6_144  # encoder positions in a batch
SOUND_SHARE = 0.07  # of the examples hold no speech
CUT_SHARE = 0.13  # of the utterances stop early, as a partial transcript sees them


@dataclass
class Batch:
    """Inputs of one step; `labels` is -100 and `phonemes` is flat, with lengths, as CTC takes it."""

    mel: torch.Tensor
    tokens: torch.Tensor
    labels: torch.Tensor
    phonemes: torch.Tensor
    phoneme_lengths: torch.Tensor


class Stored:
    """One store of `stt_data.py`, mapped into memory."""

    def __init__(self, folder: Path, name: str):
        self.index = pickle.loads((folder / f"{name}.pickle").read_bytes())
        self._mel = np.memmap(folder / f"{name}.mel", np.uint8, "r").reshape(-1, N_MELS)

    def mel(self, i: int) -> np.ndarray:
        first, count = self.index[i][:2]
        return from_bytes(self._mel[first : first + count])


def power(mel: np.ndarray) -> float:
    """Mean power of the louder frames."""
    frames = (10.0**mel).sum(axis=1)
    return float(frames[frames >= np.median(frames)].mean()) + 1e-12


def warp_matrix(factor: float) -> np.ndarray:
    """[80, 80]: `mel @ matrix` has every frequency divided by `factor`, as a longer throat would."""
    centres = mel_edges()[1:-1]
    place = np.interp(centres * factor, centres, np.arange(N_MELS))
    return np.maximum(0.0, 1.0 - np.abs(np.arange(N_MELS)[:, None] - place)).astype(np.float32)


class Noise:
    """Log-mel noises of unit power: white, pink, brown, hum, gusts and babble."""

    def __init__(self, rng: np.random.Generator, speech: Stored):
        n = 16 * SAMPLE_RATE
        t = np.arange(n) / SAMPLE_RATE
        waves = [voice.coloured_noise(rng, n, s) for s in (0, 0, 0.5, 1, 1, 1.5, 2)]
        waves += [voice.NON_SPEECH[kind](rng, t) for kind in ("hum", "hum", "gusts", "gusts", "clicks")]
        self._mels = [log_mel(w) for w in waves] + [self._babble(rng, speech, 1_600) for _ in range(4)]
        self._mels = [m - np.log10(power(m)) for m in self._mels]

    @staticmethod
    def _babble(rng: np.random.Generator, speech: Stored, frames: int) -> np.ndarray:
        total = np.full((frames, N_MELS), 1e-10)
        for _ in range(30):
            mel = speech.mel(int(rng.integers(len(speech.index))))[:frames]
            at = int(rng.integers(0, frames - len(mel) + 1))
            total[at : at + len(mel)] += 10.0**mel
        return np.log10(total).astype(np.float32)

    def draw(self, rng: np.random.Generator, frames: int) -> np.ndarray:
        mel = self._mels[rng.integers(len(self._mels))]
        start = int(rng.integers(0, len(mel)))
        return np.take(mel, np.arange(start, start + frames), axis=0, mode="wrap")


class Reader:
    """Endless examples from the stores."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, seed: int):
        self.rng = np.random.default_rng(seed)
        self.speech, self.sounds = Stored(folder, "train"), Stored(folder, "sounds")
        self.noise = Noise(self.rng, self.speech)
        self.tokenizer = tokenizer
        self._warps = [warp_matrix(factor) for factor in np.linspace(0.94, 1.06, 25)]
        self._pronounced = pickle.loads((folder / "phonemes.pickle").read_bytes())
        names = sorted({p for ps in self._pronounced.values() for p in ps})
        self._phoneme_ids = {p: i + 1 for i, p in enumerate(names)}
        self.n_phonemes = len(names) + 1

    def _cut(self, i: int, mel: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Stop before a word, or early within it; a mark stays only where a sentence had ended."""
        _, _, pieces, words, starts = self.speech.index[i]
        places = [k for k in range(1, len(words)) if starts[k] > starts[k - 1] + 4]
        if not places:
            return mel, pieces
        k = int(self.rng.choice(places))
        later = [s for s in starts[k + 1 :] if s > starts[k]] + [len(mel)]
        into = 0.35 * (later[0] - starts[k]) if self.rng.random() < 0.3 else 0.0
        kept = [p for word in words[:k] for p in Tokenizer.split(word)]
        while kept and kept[-1] == ",":
            kept.pop()
        return mel[: starts[k] + int(self.rng.uniform(0, into + 1))], kept

    def _surround(self, mel: np.ndarray) -> np.ndarray:
        """Silence before (or a start that is cut off) and after."""
        rng = self.rng
        if rng.random() < 0.08:
            mel = mel[int(rng.integers(0, 7)) :]
            before = 0
        else:
            before = int(rng.integers(0, 41))
        after = int(rng.integers(0, 91)) if rng.random() < 0.9 else 0
        return np.pad(mel, ((before, after), (0, 0)), constant_values=MEL_FLOOR)

    def _colour(self, mel: np.ndarray) -> np.ndarray:
        """Gain of -25 to 0 dB, a tilt of the spectrum, and noise at 3 to 45 dB below the speech."""
        rng = self.rng
        tilt = np.linspace(-1, 1, N_MELS, dtype=np.float32) * rng.uniform(-0.35, 0.35)
        mel = mel + np.where(mel > MEL_FLOOR + 0.05, rng.uniform(-2.5, 0.0) + tilt, 0.0)
        if rng.random() < 0.72:
            below = rng.uniform(0.3, 4.5) if rng.random() < 0.85 else rng.uniform(3.0, 6.0)
            noise = self.noise.draw(rng, len(mel)) + (np.log10(power(mel)) - below)
            mel = np.log10(10.0**mel + 10.0**noise)
        return np.maximum(mel, MEL_FLOOR).astype(np.float32)

    def _mask(self, mel: np.ndarray) -> np.ndarray:
        """SpecAugment, lightly: hardly any utterance is read twice, so there is little to guard against."""
        rng, low = self.rng, mel.min()
        if rng.random() < 0.15:
            start = int(rng.integers(0, max(1, mel.shape[1] - 8)))
            mel[:, start : start + int(rng.integers(1, 9))] = low
        if rng.random() < 0.15:
            start = int(rng.integers(0, N_MELS - 10))
            mel[start : start + int(rng.integers(1, 11))] = low
        return mel

    def example(self, i: int) -> tuple[np.ndarray, list[int], list[int]]:
        """(mel [80, frames], token ids, phoneme ids) of utterance `i`, or of a sound instead."""
        if self.rng.random() < SOUND_SHARE:
            return self._sound()
        mel, pieces = self.speech.mel(i), self.speech.index[i][2]
        if self.rng.random() < CUT_SHARE:
            mel, pieces = self._cut(i, mel)
        mel = mel @ self._warps[self.rng.integers(len(self._warps))]  # another length of throat
        mel = self._colour(self._surround(mel))
        spoken = domain.spoken_words("".join(pieces))
        phonemes = [self._phoneme_ids[p] for w in spoken for p in self._pronounced[w]]
        return self._mask(self._fit(mel)), [self.tokenizer.ids[p] for p in pieces], phonemes

    def _sound(self) -> tuple[np.ndarray, list[int], list[int]]:
        if self.rng.random() < 0.12:
            mel = np.full((int(self.rng.integers(20, 800)), N_MELS), MEL_FLOOR, np.float32)
        else:
            mel = self._surround(self.sounds.mel(int(self.rng.integers(len(self.sounds.index)))))
            mel = self._colour(mel)
        return self._fit(mel), [Tokenizer.NOTHING], []

    def _fit(self, mel: np.ndarray) -> np.ndarray:
        n_ctx = audio_context(len(mel) * HOP)
        if self.rng.random() < 0.1:
            n_ctx = min(768, n_ctx + 32 * int(self.rng.integers(1, 9)))
        return normalise(mel, n_ctx)

    def batches(self, decoder):
        """Yield a `Batch` whenever enough examples of one length have come together."""
        waiting: dict[int, list] = {}
        while True:
            for i in self.rng.permutation(len(self.speech.index)):
                example = self.example(int(i))
                n_ctx = example[0].shape[1] // 2
                group = waiting.setdefault(n_ctx, [])
                group.append(example)
                if len(group) >= min(72, max(8, POSITIONS // n_ctx)):
                    yield collate(waiting.pop(n_ctx), decoder)


def collate(examples: list, decoder) -> Batch:
    """Stack examples of one length; the two prompt tokens are not predicted, except the last."""
    longest = max(len(tokens) for _, tokens, _ in examples)
    inputs = torch.full((len(examples), longest + 2), decoder.eot)
    labels = torch.full((len(examples), longest + 2), -100)
    for row, (_, tokens, _) in enumerate(examples):
        n = len(tokens)
        inputs[row, : n + 2] = torch.tensor([decoder.sot, decoder.no_timestamps, *tokens])
        labels[row, 1 : n + 2] = torch.tensor([*tokens, decoder.eot])
    return Batch(
        torch.from_numpy(np.stack([mel for mel, _, _ in examples])), inputs, labels,
        torch.tensor([p for _, _, phonemes in examples for p in phonemes], dtype=torch.long),
        torch.tensor([len(phonemes) for _, _, phonemes in examples]))
