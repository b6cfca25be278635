"""Sound for training: espeak-ng speech with word times, and what is not speech.

Everything here is a waveform, mono f32 at 16 kHz, made from a seed. `Speaker` holds the
one espeak-ng of this process; it is not thread safe, so use one process per worker.
"""

import ctypes
import re

import numpy as np

from stt_model import SAMPLE_RATE

# A voice is an accent and a speaker. Two thirds are British, because those accents differ most among
# themselves; the speakers f4 and m7 and the plain Scottish one are heard in the evaluation only.
SPEAKERS = {
    "en-us": ["", "f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "Annie", "linda", "max"],
    "en-us-nyc": [""],
    "en-029": ["", "f2"],
    "en-gb": ["", "f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m6"],
    "en-gb-scotland": ["f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "Annie", "linda", "Andy"],
    "en-gb-x-rp": ["", "f1", "f2", "m3"],
    "en-gb-x-gbclan": ["", "f1", "m2"],
    "en-gb-x-gbcwmd": ["", "f3", "m1"],
}
TRAIN_VOICES = [f"{accent}+{name}" if name else accent for accent, names in SPEAKERS.items() for name in names]
HELDOUT_VOICES = ["en-us+m7", "en-gb+f4", "en-gb-scotland"]

_RATE, _PITCH, _RANGE = 1, 3, 4
_SYNCHRONOUS, _UTF8, _EVENT_WORD = 2, 1, 1
_NATIVE_RATE = 22_050


class _Event(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("unique", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("number", ctypes.c_char * 8)]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int,
                             ctypes.POINTER(_Event))


class Speaker:
    """espeak-ng in this process. The command line tells no word times, so this is the library."""

    def __init__(self):
        self._lib = ctypes.CDLL("libespeak-ng.so.1")
        if self._lib.espeak_Initialize(_SYNCHRONOUS, 100, None, 0) <= 0:
            raise RuntimeError("espeak-ng does not start")
        self._callback = _CALLBACK(self._collect)
        self._lib.espeak_SetSynthCallback(self._callback)
        self._lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._pcm: list[np.ndarray] = []
        self._marks: list[tuple[int, float]] = []

    def _collect(self, wav, count, events):
        if wav and count:
            self._pcm.append(np.ctypeslib.as_array(wav, shape=(count,)).copy())
        i = 0
        while events[i].type != 0:
            if events[i].type == _EVENT_WORD:
                self._marks.append((events[i].text_position - 1, events[i].audio_position / 1000.0))
            i += 1
        return 0

    def _choose(self, voice: str) -> None:
        """Set the voice; where the library does not know one, it silently keeps the one before."""
        accent, plus, speaker = voice.partition("+")
        name = {"en-gb": "en"}.get(accent, accent) + plus + speaker  # "en-gb" is a language, not a name
        if self._lib.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")

    def say(self, text: str, voice: str, rate: int = 170, pitch: int = 50, spread: int = 50):
        """(samples at 22,050 Hz, [(character, seconds)] of the starts of words)."""
        self._pcm, self._marks = [], []
        self._choose(voice)
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, spread)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        raw = text.encode() + b"\0"
        self._lib.espeak_Synth(raw, len(raw), 0, 1, 0, _UTF8, None, None)
        pcm = np.concatenate(self._pcm) if self._pcm else np.zeros(1, np.int16)
        return pcm.astype(np.float32) / 32768.0, list(self._marks)

    def phonemes(self, word: str) -> list[str]:
        """espeak's phoneme names of one word, without stress: targets for the encoder."""
        self._choose("en-us")
        text = ctypes.c_char_p(word.encode())
        raw = self._lib.espeak_TextToPhonemes(ctypes.byref(text), _UTF8, ord("_") << 8).decode()
        names = [re.sub(r"[',%=|\s;]", "", p) for p in raw.strip().split("_")]
        return [p for p in names if p]


def resample(pcm: np.ndarray, source: int, target: int, cutoff: float = 7_900.0) -> np.ndarray:
    """Change the rate in the frequency domain, with a low-pass at `cutoff` Hz."""
    n_out = int(len(pcm) * target / source)
    # Whole tenths of a second: FFTs of lengths with large prime factors are slow.
    blocks = -(-len(pcm) * 10 // source)
    n_in, n_full = blocks * source // 10, blocks * target // 10
    spectrum = np.fft.rfft(pcm, n_in)
    out = np.zeros(n_full // 2 + 1, np.complex128)
    n = min(len(out), len(spectrum))
    hertz = np.arange(n) * source / n_in
    out[:n] = spectrum[:n] / (1.0 + np.exp(np.clip((hertz - cutoff) / 60.0, -50, 50)))
    return (np.fft.irfft(out, n_full) * (target / source)).astype(np.float32)[:n_out]


def telephone(pcm: np.ndarray) -> np.ndarray:
    """8 kHz, 300-3,400 Hz, mu-law in 8 bits, back to 16 kHz."""
    narrow = resample(pcm, SAMPLE_RATE, 8_000, 3_400.0)
    spectrum = np.fft.rfft(narrow)
    hertz = np.arange(len(spectrum)) * 8_000 / max(1, len(narrow))
    narrow = np.fft.irfft(spectrum * np.clip(hertz / 300.0, 0, 1) ** 2, len(narrow))
    narrow = np.clip(narrow, -1, 1)
    code = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    return resample(np.sign(code) * (256 ** np.abs(code) - 1) / 255, 8_000, SAMPLE_RATE, 3_700.0)


def room(pcm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A little reverberation: a decaying noise tail of 80-300 ms."""
    length = int(SAMPLE_RATE * rng.uniform(0.08, 0.3))
    tail = rng.standard_normal(length) * np.exp(-6.0 * np.arange(length) / length)
    tail *= 10 ** rng.uniform(-1.0, -0.4) / np.sqrt((tail**2).sum())
    n = len(pcm) + length
    wet = np.fft.irfft(np.fft.rfft(pcm, n) * np.fft.rfft(tail, n), n)[: len(pcm)]
    return (pcm + wet).astype(np.float32)


def coloured_noise(rng: np.random.Generator, n: int, slope: float) -> np.ndarray:
    """Noise of unit power with a spectrum of 1 / f^slope: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (slope / 2)
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, n)
    return (noise / (noise.std() + 1e-9)).astype(np.float32)


def _tones(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """A 440 Hz tone, any tone, or a chord."""
    choices = [[440.0], [rng.uniform(80, 4_000)], list(rng.uniform(100, 2_000, 3))]
    pitches = choices[rng.integers(3)]
    return sum(np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in pitches) / len(pitches)


def _dtmf(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """A row of telephone keys."""
    out, key = np.zeros_like(t), int(SAMPLE_RATE * rng.uniform(0.08, 0.3))
    for start in range(0, len(t), int(key * rng.uniform(1.3, 2.5))):
        part = t[start : start + key]
        low, high = rng.choice([697, 770, 852, 941]), rng.choice([1209, 1336, 1477, 1633])
        out[start : start + key] = (np.sin(2 * np.pi * low * part) + np.sin(2 * np.pi * high * part)) / 2
    return out


def _sweep(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """A tone that glides from one pitch to another, possibly several times."""
    a, b = rng.uniform(60, 6_000, 2)
    phase = (t * rng.choice([0.5, 1, 2, 4]) / t[-1]) % 1.0
    return np.sin(2 * np.pi * np.cumsum(a + (b - a) * phase) / SAMPLE_RATE)


def _clicks(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """Clicks, knocks and keystrokes: short decaying bursts."""
    out = np.zeros(len(t) + 4_000)
    for start in rng.integers(0, len(t), rng.integers(1, 12)):
        n = int(rng.choice([8, 80, 800, 2_400]))
        burst = rng.standard_normal(n) * np.exp(-5 * np.arange(n) / n)
        out[start : start + n] += burst * rng.uniform(0.2, 1)
    return out[: len(t)]


def _gusts(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """Noise that swells and fades, like breath, wind or a passing car."""
    swell = np.interp(t, np.linspace(0, t[-1], 8), rng.uniform(0, 1, 8) ** 2)
    return coloured_noise(rng, len(t), rng.uniform(0, 2.5)) * swell / 3


def _steady(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    return coloured_noise(rng, len(t), rng.choice([0.0, 1.0, 2.0, rng.uniform(0, 2)])) / 4


def _hum(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """Mains or a motor: a low pitch with harmonics."""
    base = rng.choice([50.0, 60.0, 100.0, rng.uniform(40, 200)])
    return sum(np.sin(2 * np.pi * base * k * t) / k**1.5 for k in range(1, 9)) / 2


NON_SPEECH = {"tones": _tones, "dtmf": _dtmf, "sweep": _sweep, "clicks": _clicks, "gusts": _gusts,
              "noise": _steady, "hum": _hum}


def non_speech(rng: np.random.Generator, kind: str | None = None) -> np.ndarray:
    """0.3-8 s that must be transcribed to nothing; `silence` is exact zeros."""
    t = np.arange(int(SAMPLE_RATE * min(8.0, 0.3 + rng.exponential(1.8)))) / SAMPLE_RATE
    kind = kind or rng.choice(list(NON_SPEECH))
    if kind == "silence":
        return np.zeros(len(t), np.float32)
    pcm = NON_SPEECH[kind](rng, t)
    return (0.9 * pcm / (np.abs(pcm).max() + 1e-9) * 10 ** rng.uniform(-2.0, 0)).astype(np.float32)
