"""Write the trained starter Whisper as a whisper.cpp (ggml) file.

The layout is whisper.cpp's: magic, eleven header numbers, mel filters, vocabulary, tensors.
`n_vocab` must be 51864 for the special ids to fit, so the rows that this model does not use
are filled with its one trained "unused" row.
"""

import argparse
import hashlib
import struct
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from stt_model import (BUILD, EOT, N_VOCAB, NO_TIMESTAMPS, OUTPUT, SOT, Tokenizer, Whisper,
                       load_checkpoint, mel_filters)

MAGIC = 0x67676D6C
F16 = 1


def token_table(model: Whisper) -> torch.Tensor:
    """The full [51864, d] embedding from the compact rows."""
    dec = model.decoder
    rows = dec.table()
    full = rows[-1].repeat(N_VOCAB, 1)
    full[: dec.n_text] = rows[: dec.n_text]
    full[EOT], full[SOT], full[NO_TIMESTAMPS] = rows[dec.eot], rows[dec.sot], rows[dec.no_timestamps]
    return full


def tensors(model: Whisper) -> dict[str, torch.Tensor]:
    """Every tensor under the name that whisper.cpp asks for."""
    skip = {"decoder.token_embedding", "decoder.capital"}
    out = {name: t for name, t in model.state_dict().items() if name not in skip}
    out["decoder.token_embedding.weight"] = token_table(model)
    for name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        out[name] = out[name][:, None]
    # whisper.cpp scales the keys of cross-attention by the head size of the encoder, the
    # queries by that of the decoder; the queries make good for the difference.
    scale = (model.cfg.n_text_head / model.cfg.n_audio_head) ** 0.25
    for name in out:
        if "cross_attn.query" in name:
            out[name] = out[name] * scale
    return out


def write_header(file, model: Whisper, tokenizer: Tokenizer) -> None:
    c = model.cfg
    file.write(struct.pack(
        "<I11i", MAGIC, N_VOCAB, c.n_audio_ctx, c.n_state, c.n_audio_head, c.n_audio_layer,
        c.n_text_ctx, c.n_state, c.n_text_head, c.n_text_layer, c.n_mels, F16))
    filters = mel_filters()
    file.write(struct.pack("<2i", *filters.shape))
    file.write(filters.tobytes())
    file.write(struct.pack("<i", len(tokenizer.texts)))
    for text in tokenizer.texts:
        raw = text.encode()
        file.write(struct.pack("<I", len(raw)) + raw)


def write_tensor(file, name: str, tensor: torch.Tensor) -> None:
    """2-D weights and convolutions as f16, the rest (and position tables) as f32."""
    half = tensor.dim() >= 2 and not name.endswith(("positional_embedding", ".bias"))
    data = tensor.detach().float().numpy().astype(np.float16 if half else np.float32)
    raw = name.encode()
    file.write(struct.pack("<3i", data.ndim, len(raw), F16 if half else 0))
    file.write(struct.pack(f"<{data.ndim}i", *reversed(data.shape)))
    file.write(raw + np.ascontiguousarray(data).tobytes())


def export(model: Whisper, tokenizer: Tokenizer, path: Path) -> str:
    """Write the file and return its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with torch.no_grad(), part.open("wb") as file:
        write_header(file, model, tokenizer)
        for name, tensor in tqdm(tensors(model).items(), desc="tensors"):
            write_tensor(file, name, tensor)
    part.replace(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=BUILD / "last.pt")
    parser.add_argument("--words", type=Path, default=BUILD / "words.json")
    parser.add_argument("--output", type=Path, default=OUTPUT / "ggml-starter.bin")
    args = parser.parse_args()
    digest = export(load_checkpoint(args.checkpoint), Tokenizer.load(args.words), args.output)
    print(f"{args.output}  {args.output.stat().st_size / 1e6:.1f} MB  sha256 {digest}")


if __name__ == "__main__":
    main()
