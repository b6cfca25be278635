"""The official clients for Node: `openai` and `@openai/agents-realtime`, over TLS where they insist on it.

The tests are in `node/`. What the server sent them is judged here, as strictly as everything else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import speech
from record import Record

NODE = Path(__file__).parent / "node"
SENTENCES = ("My name is Anna.", "What is my name?")
EXPECTED_ERRORS = {"openai-ws-error": {"response_cancel_not_active"}}
LIMIT = 400  # seconds for one file of tests


@pytest.mark.parametrize("suite", ["openai", "agents"])
def test_node(suite: str, tmp_path: Path) -> None:
    if "ANTIPHON_CA" not in os.environ:
        pytest.fail("ANTIPHON_CA is not set; run this through scripts/with-server --tls")
    for sentence in SENTENCES:
        name = sentence.lower().rstrip(".?").replace(" ", "-")
        (tmp_path / f"{name}.pcm").write_bytes(speech.spoken(sentence))
    environment = {
        **os.environ,
        "NODE_EXTRA_CA_CERTS": os.environ["ANTIPHON_CA"],
        "CONFORMANCE_FRAMES": str(tmp_path),
        "CONFORMANCE_SPEECH": str(tmp_path),
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
    }
    node = shutil.which("node") or "node"
    # Node 20 has the native WebSocket behind this flag.
    command = [node, "--experimental-websocket", "--test", "--test-reporter=spec", f"{suite}.test.mjs"]
    done = subprocess.run(command, cwd=NODE, env=environment, capture_output=True, text=True, timeout=LIMIT)
    logs = sorted(tmp_path.glob("*.jsonl"))
    problems = [f"{log.stem}: {problem}" for log in logs for problem in [_problem(log)] if problem]
    print(done.stdout, done.stderr, *problems, sep="\n")
    assert done.returncode == 0, "tests of node failed"
    assert not problems
    assert logs, "no frames were recorded"


def _problem(log: Path) -> str:
    record = Record()
    record.expected_errors |= EXPECTED_ERRORS.get(log.stem, set())
    for line in log.read_text(encoding="utf-8").splitlines():
        record.take(line)
    try:
        record.check()
    except AssertionError as problem:
        return f"{problem}\n{record}"
    return ""
