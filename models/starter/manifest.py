#!/usr/bin/env python3
"""Writes models/starter/manifest.toml: what each model that comes with the repository consists of, with checksums.

Run it after `make starter`; tests/models.rs compares the files with what it wrote.
"""

import hashlib
import pathlib

STARTER = pathlib.Path(__file__).parent
STARTERS = {
    "starter-stt": ("stt", "stt", "Whisper for synthetic English speech, a closed vocabulary",
                    ["ggml-starter.bin"]),
    "starter-llm": ("llm", "llm", "Small talk and facts about the speaker, English",
                    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                     "onnx/model.onnx"]),
}


def entry(folder: str, name: str) -> str:
    """One file of a model, as a table."""
    data = (STARTER / folder / name).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return f'  {{ path = "{folder}/{name}", bytes = {len(data)}, sha256 = "{digest}" }},\n'


def main() -> None:
    """Writes the manifest beside this script."""
    lines = ["# Written by models/starter/manifest.py; do not edit. Paths are relative to this folder.\n"]
    for model, (kind, folder, about, files) in STARTERS.items():
        lines.append(f'\n[[model]]\nname = "{model}"\nkind = "{kind}"\nabout = "{about}"\n'
                     f'licence = "MIT OR Apache-2.0"\nfiles = [\n')
        lines.extend(entry(folder, name) for name in files)
        lines.append("]\n")
    (STARTER / "manifest.toml").write_text("".join(lines))


if __name__ == "__main__":
    main()
