"""Make the starter models from nothing: `python make.py [stt|llm|all]`.

Each step is a script of its own that can be run alone and says `--help`. A step that fails
stops the run; training steps go on from their last checkpoint when the run is repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
STEPS = {
    "llm": [["llm_train.py"], ["llm_export.py"], ["llm_eval.py", "--write"]],
    "stt": [["stt_data.py"], ["stt_train.py"], ["stt_export.py"], ["stt_eval.py"]],
}
OUTPUTS = {
    "llm": ["llm/config.json", "llm/generation_config.json", "llm/tokenizer.json", "llm/tokenizer_config.json",
            "llm/onnx/model.onnx", "llm/scores.json"],
    "stt": ["stt"],
}


def run(part: str, extra: list[str]) -> None:
    """Run the steps of one part and say how long each took."""
    for script, *arguments in STEPS[part]:
        began = time.time()
        training = script.endswith("_train.py")
        command = [sys.executable, str(HERE / script), *arguments, *(extra if training else [])]
        print(f"== {' '.join(command[1:])}", flush=True)
        if subprocess.run(command, cwd=HERE, check=False).returncode:
            sys.exit(f"{script} failed; run it alone with --help to see its options")
        print(f"== {script} took {(time.time() - began) / 60:.1f} min", flush=True)


def files(part: str) -> list[Path]:
    """The files that a part is meant to leave."""
    found = []
    for name in OUTPUTS[part]:
        path = HERE / name
        found += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return found


def main() -> None:
    """Make the parts asked for, then list what is there with sizes and checksums."""
    parser = argparse.ArgumentParser(description="Make the starter models (one to two hours each on one busy core).")
    parser.add_argument("part", nargs="?", default="all", choices=["stt", "llm", "all"])
    parser.add_argument("--list", action="store_true", help="only list the files and their SHA-256")
    parser.add_argument("--fresh", action="store_true", help="train the llm from the start, ignoring its checkpoint")
    args = parser.parse_args()
    parts = ["llm", "stt"] if args.part == "all" else [args.part]
    for part in parts:
        if not args.list:
            run(part, ["--fresh"] if args.fresh and part == "llm" else [])
    missing = [p for part in parts for p in files(part) if not p.exists()]
    for path in (p for part in parts for p in files(part) if p.exists()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{digest}  {path.stat().st_size:>10}  {path.relative_to(HERE)}")
    if missing:
        sys.exit("missing: " + ", ".join(str(p.relative_to(HERE)) for p in missing))


if __name__ == "__main__":
    main()
