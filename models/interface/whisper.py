"""Write a Whisper file with random weights in whisper.cpp's (ggml) format, in the exact shape of a real model.

It says nothing sensible; it shows that a real file of that shape loads and runs, and what that costs. Plain Python,
nothing to install. The layout is that of whisper.cpp's `convert-pt-to-ggml.py` and `quantize`: magic, eleven sizes,
mel filters, vocabulary, tensors. Sizes are those of OpenAI's `whisper/__init__.py` models.

    python3 models/interface/whisper.py --shape large-v3-turbo --type q5_0 --output FILE
"""

import argparse
import math
import os
import random
import struct
from pathlib import Path

MAGIC = 0x67676D6C
TEXT_TOKENS = 50_257
N_FFT = 201

# vocabulary, audio context, width, audio heads, audio layers, text context, text heads, text layers, mel bands
SHAPES = {
    "probe": (51_865, 1500, 64, 1, 1, 448, 1, 1, 80),
    "probe.en": (51_864, 1500, 64, 1, 1, 448, 1, 1, 80),
    "tiny.en": (51_864, 1500, 384, 6, 4, 448, 6, 4, 80),
    "tiny": (51_865, 1500, 384, 6, 4, 448, 6, 4, 80),
    "base": (51_865, 1500, 512, 8, 6, 448, 8, 6, 80),
    "small": (51_865, 1500, 768, 12, 12, 448, 12, 12, 80),
    "large-v3": (51_866, 1500, 1280, 20, 32, 448, 20, 32, 128),
    "large-v3-turbo": (51_866, 1500, 1280, 20, 32, 448, 20, 4, 128),
}
# ggml's number of the tensor type, and of the file type (1000 x quantisation version 2 + type).
TYPES = {"f16": (1, 1), "q5_0": (6, 2008), "q8_0": (8, 2007)}
SPREAD = 0.02  # standard deviation of the weights


def mel_filters(n_mels: int) -> list[list[float]]:
    """Slaney's mel filters, as librosa and OpenAI's `mel_filters.npz` have them: 16 kHz, 400 samples."""
    def hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    top = 15 + 27 * math.log(8) / math.log(6.4)
    edges = [hz(i * top / (n_mels + 1)) for i in range(n_mels + 2)]
    rows = []
    for low, mid, high in zip(edges, edges[1:], edges[2:]):
        bins = [i * 8000 / (N_FFT - 1) for i in range(N_FFT)]
        rows.append([max(0.0, min((f - low) / (mid - low), (high - f) / (high - mid))) * 2 / (high - low)
                     for f in bins])
    return rows


class Noise:
    """Random weights: one block of each type, read again and again from other places."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)
        self._blocks: dict[str, bytes] = {}

    def weights(self, kind: str, count: int) -> bytes:
        block, values, size = self._block(kind)
        start = self._random.randrange(len(block) // size) * size
        need = count // values * size
        cycled = block[start:] + block * ((need + start) // len(block) + 1)
        return cycled[:need]

    def _block(self, kind: str) -> tuple[bytes, int, int]:
        values, size = {"f32": (1, 4), "f16": (1, 2), "q5_0": (32, 22), "q8_0": (32, 34)}[kind]
        if kind not in self._blocks:
            self._blocks[kind] = self._make(kind)
        return self._blocks[kind], values, size

    def _make(self, kind: str) -> bytes:
        rng = self._random
        if kind in ("f16", "f32"):
            numbers = [rng.gauss(0, SPREAD) for _ in range(65_521)]
            return struct.pack(f"<{len(numbers)}{'e' if kind == 'f16' else 'f'}", *numbers)
        # Levels are spread evenly: 32 of them for q5_0, 256 for q8_0.
        levels, body = (32, 20) if kind == "q5_0" else (256, 32)
        scale = struct.pack("<e", SPREAD * math.sqrt(12) / levels)
        return b"".join(scale + rng.randbytes(body) for _ in range(16_381))


def special(vocabulary: int) -> dict[str, int]:
    """Ids of special tokens, as whisper.cpp counts them."""
    shift = vocabulary - 51_864  # 0 English, 1 with 99 languages, 2 with 100
    eot = 50_256 + (shift > 0)
    return {"eot": eot, "sot": eot + 1, "nosp": 50_361 + shift}


def tensors(shape: tuple, kind: str):
    """Name, dimensions (whisper.cpp's order), type, and filling of each tensor."""
    vocabulary, audio_ctx, width, _, audio_layers, text_ctx, _, text_layers, mels = shape
    yield "encoder.positional_embedding", (width, audio_ctx), "f32", "noise"
    yield "encoder.conv1.weight", (3, mels, width), "f16", "noise"
    yield "encoder.conv1.bias", (1, width), "f32", "zeros"
    yield "encoder.conv2.weight", (3, width, width), "f16", "noise"
    yield "encoder.conv2.bias", (1, width), "f32", "zeros"
    yield from norm("encoder.ln_post", width)
    for i in range(audio_layers):
        yield from block(f"encoder.blocks.{i}", ("attn",), width, kind)
    yield "decoder.positional_embedding", (width, text_ctx), "f32", "noise"
    yield "decoder.token_embedding.weight", (width, vocabulary), kind, "noise"
    yield from norm("decoder.ln", width)
    for i in range(text_layers):
        yield from block(f"decoder.blocks.{i}", ("attn", "cross_attn"), width, kind)


def norm(name: str, width: int):
    yield f"{name}.weight", (width,), "f32", "ones"
    yield f"{name}.bias", (width,), "f32", "zeros"


def block(name: str, attentions: tuple, width: int, kind: str):
    for attention in attentions:
        yield from norm(f"{name}.{attention}_ln", width)
        for part in ("query", "key", "value", "out"):
            yield f"{name}.{attention}.{part}.weight", (width, width), kind, "noise"
            if part != "key":
                yield f"{name}.{attention}.{part}.bias", (width,), "f32", "zeros"
    yield from norm(f"{name}.mlp_ln", width)
    yield f"{name}.mlp.0.weight", (width, 4 * width), kind, "noise"
    yield f"{name}.mlp.0.bias", (4 * width,), "f32", "zeros"
    yield f"{name}.mlp.2.weight", (4 * width, width), kind, "noise"
    yield f"{name}.mlp.2.bias", (width,), "f32", "zeros"


def constant(name: str, shape: tuple, liked: dict[int, float]) -> bytes | None:
    """Tensors of a decoder whose logits are `liked` whatever it hears: its last norm gives one constant vector."""
    width, vocabulary = shape[2], shape[0]
    if name == "decoder.ln.weight":
        return bytes(4 * width)
    if name == "decoder.ln.bias":
        return struct.pack(f"<{width}f", 1.0, *[0.0] * (width - 1))
    if name == "decoder.token_embedding.weight":
        rows = bytearray(2 * width * vocabulary)
        for token, logit in liked.items():
            struct.pack_into("<e", rows, 2 * width * token, logit)
        return bytes(rows)
    return None


def token_bytes(token: int) -> bytes:
    """Single bytes first, so that any prompt can be tokenized; then words."""
    return bytes([token]) if token < 256 else f" w{token}".encode()


def write(path: Path, shape: tuple, kind: str, liked: dict[int, float], seed: int) -> None:
    noise = Noise(seed)
    number, file_type = TYPES[kind]
    vocabulary, audio_ctx, width, audio_heads, audio_layers, text_ctx, text_heads, text_layers, mels = shape
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(struct.pack("<I11i", MAGIC, vocabulary, audio_ctx, width, audio_heads, audio_layers, text_ctx,
                               width, text_heads, text_layers, mels, file_type))
        file.write(struct.pack("<2i", mels, N_FFT))
        for row in mel_filters(mels):
            file.write(struct.pack(f"<{N_FFT}f", *row))
        file.write(struct.pack("<i", TEXT_TOKENS))
        for token in range(TEXT_TOKENS):
            text = token_bytes(token)
            file.write(struct.pack("<I", len(text)) + text)
        for name, dims, of, filling in tensors(shape, kind):
            count = math.prod(dims)
            data = constant(name, shape, liked) if liked else None
            if data is None:
                data = {"noise": lambda: noise.weights(of, count), "zeros": lambda: bytes(4 * count),
                        "ones": lambda: struct.pack("<f", 1.0) * count}[filling]()
            ggml_type = 0 if of == "f32" else 1 if of == "f16" else number
            raw = name.encode()
            file.write(struct.pack(f"<3i{len(dims)}i", len(dims), len(raw), ggml_type, *dims) + raw + data)
    part.replace(path)


def likings(name: str, vocabulary: int) -> dict[int, float]:
    """Logits of a decoder that always does the same; all others are 0."""
    ids = special(vocabulary)
    return {
        "random": {},
        "loop": {1_000: 20.0},  # writes " w1000" for ever, and is sure of it
        "silence": {ids["nosp"]: 20.0, 1_000: 1.0},  # holds anything for no speech, and is unsure of its text
        "ends": {ids["eot"]: 20.0},  # writes nothing
        "german": {ids["sot"] + 3: 20.0, 1_000: 10.0, ids["eot"]: 9.0},  # hears German
    }[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--type", choices=TYPES, default="f16")
    parser.add_argument("--does", choices=["random", "loop", "silence", "ends", "german"], default="random")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    if args.does != "random" and args.type != "f16":
        parser.error("a decoder that always does the same is written as f16")
    write(args.output, shape, args.type, likings(args.does, shape[0]), args.seed)
    print(f"{args.output}  {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
