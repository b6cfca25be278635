"""What the server sent a client that hides its socket: each frame validated as it comes, waited for by type."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import frames as rules
import pytest

DEADLINE = 45.0  # seconds for any one event: real models on a busy machine


class Record:
    """The frames of a client, in one connection or several. What is wrong is kept, not raised: most clients swallow what a listener raises."""

    def __init__(self) -> None:
        self.frames: list[dict] = []
        self.problems: list[str] = []
        self.expected_errors: set[str] = set()  # their codes
        self._seen = 0
        self._news = asyncio.Event()

    def take(self, frame: dict | str | bytes) -> None:
        """Notes a frame of the server."""
        data = json.dumps(frame) if isinstance(frame, dict) else frame
        try:
            rules.validate(data)
        except Exception as problem:  # noqa: BLE001: told at the end, with the frame
            self.problems.append(f"{problem}\n  in {str(data)[:1000]}")
        self.frames.append(json.loads(data))
        self._news.set()

    async def until(self, kind: str, accept: Callable[[dict], bool] = lambda _: True) -> dict:
        """The next frame of this type, after the one that the last call gave."""
        try:
            async with asyncio.timeout(DEADLINE):
                return await self._find(kind, accept)
        except TimeoutError:
            return pytest.fail(f"no {kind} within {DEADLINE:.0f} s")

    async def _find(self, kind: str, accept: Callable[[dict], bool]) -> dict:
        while True:
            while self._seen < len(self.frames):
                frame = self.frames[self._seen]
                self._seen += 1
                if frame["type"] == kind and accept(frame):
                    return frame
            self._news.clear()
            await self._news.wait()

    async def completed(self) -> str:
        """The words of the next response, which must be whole."""
        response = (await self.until("response.done"))["response"]
        assert response["status"] == "completed", response["status_details"]
        return rules.words(response)

    def of_type(self, kind: str) -> list[dict]:
        """All frames of one type."""
        return rules.of_type(self.frames, kind)

    def check(self) -> None:
        """Holds the rules of single frames and of the whole connection; no error was sent."""
        assert not self.problems, "\n".join(self.problems)
        errors = [e for e in (frame["error"] for frame in self.of_type("error")) if e["code"] not in self.expected_errors]
        assert not errors, f"the server sent errors: {errors}"
        for connection in rules.connections(self.frames):
            rules.check_connection(connection)

    def __str__(self) -> str:
        return rules.brief(self.frames)
