"""The starter Whisper: network, features and tokens, as whisper.cpp computes them.

Training must see exactly what whisper.cpp sees, so everything that it does to the
sound before the first layer is repeated here in numpy. Read `log_mel` and
`audio_context` first, then `Whisper`.
"""

import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build" / "stt"
OUTPUT = HERE / "stt"

SAMPLE_RATE = 16_000
N_MELS = 80
N_FFT = 400
HOP = 160
MEL_FLOOR = -10.0  # log10 of whisper.cpp's 1e-10

# Ids of the English-only layout that whisper.cpp has in its code.
N_VOCAB = 51_864
EOT, SOT, NO_TIMESTAMPS = 50_256, 50_257, 50_362


@dataclass
class Config:
    """Sizes of the network; the names are those of Whisper's checkpoint header."""

    n_audio_ctx: int = 768  # positions of 20 ms: 15.4 s
    n_state: int = 128
    n_audio_head: int = 2
    n_audio_layer: int = 6
    n_text_head: int = 4
    n_text_layer: int = 2
    n_text_ctx: int = 128  # whisper.cpp writes at most n_text_ctx / 2 - 4 tokens
    n_mels: int = N_MELS
    n_words: int = 0  # rows of the tied embedding, see `Tokenizer`


def audio_context(n_samples: int, n_audio_ctx: int = 768) -> int:
    """Encoder positions for an utterance: its length, a margin of 0.32 s, a multiple of 32."""
    wanted = math.ceil(n_samples / 320) + 16
    return min(max(64, -(-wanted // 32) * 32), n_audio_ctx)


def mel_edges() -> np.ndarray:
    """Hz of the 82 edges of the mel filters; the centre of filter i is edge i + 1."""
    top = 15.0 + 27.0 * np.log(SAMPLE_RATE / 2_000) / np.log(6.4)
    mel = np.linspace(0.0, top, N_MELS + 2)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((np.log(6.4) / 27.0) * (mel - 15.0)))


def mel_filters() -> np.ndarray:
    """Slaney mel filters [80, 201], the ones that Whisper ships."""
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    edges = mel_edges()
    width = np.diff(edges)
    ramps = edges[:, None] - bins[None, :]
    lower = -ramps[:-2] / width[:-1, None]
    upper = ramps[2:] / width[1:, None]
    filters = np.maximum(0.0, np.minimum(lower, upper))
    return (filters * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


_FILTERS = mel_filters()
_WINDOW = (0.5 * (1.0 - np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT))).astype(np.float32)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """log10 mel power [frames, 80] of mono f32 at 16 kHz, before Whisper's clamp and scale.

    Like whisper.cpp: 200 samples of reflection in front, zeros behind.
    """
    samples = np.asarray(samples, dtype=np.float32)
    if len(samples) < N_FFT:
        samples = np.pad(samples, (0, N_FFT - len(samples)))
    padded = np.concatenate([samples[200:0:-1], samples, np.zeros(N_FFT, np.float32)])
    n_frames = (len(samples) + N_FFT // 2) // HOP + 1
    n_frames = min(n_frames, 1 + (len(padded) - N_FFT) // HOP)
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][:n_frames]
    power = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)).astype(np.float32) ** 2
    return np.log10(np.maximum(power @ _FILTERS.T, 1e-10))


def normalise(mel: np.ndarray, n_ctx: int) -> np.ndarray:
    """Clamp and scale a `log_mel`, cut or filled to 2 * n_ctx frames, as [80, frames]."""
    low = mel.max() - 8.0 if len(mel) else MEL_FLOOR
    out = np.full((2 * n_ctx, N_MELS), max(MEL_FLOOR, low), np.float32)
    n = min(len(mel), 2 * n_ctx)
    out[:n] = np.maximum(mel[:n], low)
    return ((out + 4.0) / 4.0).T


class Tokenizer:
    """Whole words as tokens, with the leading space that Whisper's tokens carry.

    Each word has two ids, `word` and its capitalised form: their embeddings differ by one
    trained vector, so a word learned in mid-sentence is known at the start of one too.
    Id 0 is the bare space that whisper.cpp looks up; id 1 is an empty text, which says
    "nothing was spoken" even where whisper.cpp forbids end-of-text as the first token.
    """

    SPACE, NOTHING = 0, 1
    MARKS = [",", ".", "?", "!"]

    def __init__(self, words: list[str]):
        self.words = words
        self.n_base = 2 + len(self.MARKS)
        self.texts = [" ", "", *self.MARKS, *(" " + w for w in words)]
        self.texts += [" " + w[0].upper() + w[1:] for w in words]
        # A word that is always written with a capital shares its text with its own
        # capitalised form; the later id wins, so training uses one of the two only.
        self.ids = {text: i for i, text in enumerate(self.texts)}

    @staticmethod
    def split(text: str) -> list[str]:
        """`What's up, Anna?` -> [" What's", " up", ",", " Anna", "?"]."""
        return [m if m in ",.?!" else " " + m for m in re.findall(r"[A-Za-z][A-Za-z'-]*|[,.?!]", text)]

    def encode(self, text: str) -> list[int]:
        return [self.ids[piece] for piece in self.split(text)]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.texts[i] for i in ids if i < len(self.texts)).strip()

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.words, indent=0))

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        return cls(json.loads(path.read_text()))


def sinusoids(length: int, channels: int) -> torch.Tensor:
    """Whisper's fixed position table [length, channels]."""
    step = math.log(10_000) / (channels // 2 - 1)
    scaled = torch.arange(length)[:, None] * torch.exp(-step * torch.arange(channels // 2))[None, :]
    return torch.cat([scaled.sin(), scaled.cos()], dim=1)


class Attention(nn.Module):
    """Multi-head attention with Whisper's names; keys have no bias."""

    def __init__(self, n_state: int, n_head: int):
        super().__init__()
        self.n_head = n_head
        self.query = nn.Linear(n_state, n_state)
        self.key = nn.Linear(n_state, n_state, bias=False)
        self.value = nn.Linear(n_state, n_state)
        self.out = nn.Linear(n_state, n_state)

    def _heads(self, x):
        return x.view(x.shape[0], x.shape[1], self.n_head, -1).transpose(1, 2)

    def forward(self, x, source=None, causal=False):
        source = x if source is None else source
        q, k, v = self._heads(self.query(x)), self._heads(self.key(source)), self._heads(self.value(source))
        # At these lengths the plain form trains 2.5 times as fast on a CPU as the fused one.
        scores = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
        if causal:
            scores = scores + torch.full_like(scores[0, 0], -math.inf).triu(1)
        y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One residual block; decoders add cross-attention."""

    def __init__(self, cfg: Config, cross: bool):
        super().__init__()
        d = cfg.n_state
        n_head = cfg.n_text_head if cross else cfg.n_audio_head
        self.attn, self.attn_ln = Attention(d, n_head), nn.LayerNorm(d)
        self.cross_attn = Attention(d, n_head) if cross else None
        self.cross_attn_ln = nn.LayerNorm(d) if cross else None
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.mlp_ln = nn.LayerNorm(d)

    def forward(self, x, source=None):
        x = x + self.attn(self.attn_ln(x), causal=self.cross_attn is not None)
        if self.cross_attn is not None:
            x = x + self.cross_attn(self.cross_attn_ln(x), source)
        return x + self.mlp(self.mlp_ln(x))


class Encoder(nn.Module):
    """Two convolutions (stride 1, then 2), fixed positions, blocks."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.conv1 = nn.Conv1d(cfg.n_mels, cfg.n_state, 3, padding=1)
        self.conv2 = nn.Conv1d(cfg.n_state, cfg.n_state, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", sinusoids(cfg.n_audio_ctx, cfg.n_state))
        self.blocks = nn.ModuleList(Block(cfg, cross=False) for _ in range(cfg.n_audio_layer))
        self.ln_post = nn.LayerNorm(cfg.n_state)

    def forward(self, mel):
        x = F.gelu(self.conv1(mel))
        x = F.gelu(self.conv2(x)).transpose(1, 2).contiguous()
        x = x + self.positional_embedding[: x.shape[1]].to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class Decoder(nn.Module):
    """Decoder over compact rows: base tokens, words, then four special rows.

    Rows at run time: [base + words | capitalised words | EOT, SOT, NO_TIMESTAMPS | unused].
    The last one stands for all the ids of Whisper's table that this model never writes: its
    logit is raised by the log of their number, so probabilities agree with whisper.cpp's.
    """

    def __init__(self, cfg: Config):
        super().__init__()
        d, base = cfg.n_state, 2 + len(Tokenizer.MARKS)
        self.n_base, self.n_words = base, cfg.n_words
        self.token_embedding = nn.Parameter(torch.randn(base + cfg.n_words + 4, d) * 0.05)
        self.capital = nn.Parameter(torch.randn(d) * 0.05)
        self.positional_embedding = nn.Parameter(torch.randn(cfg.n_text_ctx, d) * 0.02)
        self.blocks = nn.ModuleList(Block(cfg, cross=True) for _ in range(cfg.n_text_layer))
        self.ln = nn.LayerNorm(d)
        self.n_text = base + 2 * cfg.n_words
        self.eot, self.sot, self.no_timestamps = self.n_text, self.n_text + 1, self.n_text + 2
        bias = torch.zeros(self.n_text + 4)
        bias[-1] = math.log(N_VOCAB - self.n_text - 3)
        self.register_buffer("row_bias", bias, persistent=False)

    def table(self) -> torch.Tensor:
        """The embedding of every row, [n_text + 4, d]."""
        words = self.token_embedding[self.n_base : self.n_base + self.n_words]
        head, tail = self.token_embedding[: self.n_base], self.token_embedding[-4:]
        return torch.cat([head, words, words + self.capital, tail])

    def forward(self, tokens, audio):
        table = self.table()
        x = F.embedding(tokens, table) + self.positional_embedding[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, audio)
        return F.linear(self.ln(x), table) + self.row_bias


class Whisper(nn.Module):
    """Encoder and decoder; `state_dict` keeps Whisper's names except for the token table."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.encoder, self.decoder = Encoder(cfg), Decoder(cfg)

    @torch.no_grad()
    def transcribe(self, mel: torch.Tensor, limit: int = 60) -> list[list[int]]:
        """Greedy decoding of a batch [n, 80, frames], with whisper.cpp's masks."""
        audio, dec = self.encoder(mel), self.decoder
        tokens = torch.tensor([[dec.sot, dec.no_timestamps]] * len(mel))
        done = torch.zeros(len(mel), dtype=torch.bool)
        for _ in range(limit):
            logits = dec(tokens, audio)[:, -1].float()
            logits[:, dec.sot :] = -math.inf
            step = logits.argmax(-1).masked_fill(done, dec.eot)
            tokens = torch.cat([tokens, step[:, None]], dim=1)
            done |= step == dec.eot
            if done.all():
                break
        return [[t for t in row if t < dec.eot] for row in tokens[:, 2:].tolist()]


def save_checkpoint(path: Path, model: Whisper, **extra) -> None:
    """Write weights and sizes, through a temporary file so that a reader never sees half."""
    part = path.with_suffix(".part")
    torch.save({"config": asdict(model.cfg), "model": model.state_dict(), **extra}, part)
    part.replace(path)


def load_checkpoint(path: Path) -> Whisper:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model = Whisper(Config(**saved["config"]))
    model.load_state_dict(saved["model"])
    return model.eval()
