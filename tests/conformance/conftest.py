"""The server under test and a talk with it through the official SDK."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import frames as rules
import pytest
import speech
from openai import AsyncOpenAI, OpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from record import Record

DEADLINE = 30.0  # seconds for any one event: real models on a busy machine
KEY = "unused-on-loopback"


class Talk:
    """One connection. Keeps every frame, each validated when it arrives."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.frames: list[dict] = []

    async def next(self) -> dict:
        """The next frame."""
        data = await asyncio.wait_for(self.connection.recv_bytes(), DEADLINE)
        frame = rules.validate(data)
        assert self.connection.parse_event(data).type == frame["type"]
        self.frames.append(frame)
        return frame

    async def until(self, kind: str, accept: Callable[[dict], bool] = lambda _: True) -> dict:
        """Reads on to the first frame of this type."""
        seen: list[str] = []
        while True:
            try:
                frame = await self.next()
            except TimeoutError:
                pytest.fail(f"no {kind} within {DEADLINE:.0f} s; came: {seen}")
            if frame["type"] == kind and accept(frame):
                return frame
            seen.append(frame["type"])
            if frame["type"] == "error" and kind != "error":
                pytest.fail(f"waiting for {kind}: {frame['error']}")

    async def update(self, **session: object) -> dict:
        """Changes the session; gives the effective one."""
        await self.connection.session.update(session={"type": "realtime", **session})
        return (await self.until("session.updated"))["session"]

    async def text_only(self) -> None:
        """Written answers: faster where the voice is not the point."""
        await self.update(output_modalities=["text"])

    async def write(self, text: str) -> dict:
        """A user message; gives its item."""
        content = [{"type": "input_text", "text": text}]
        await self.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        return (await self.until("conversation.item.done"))["item"]

    async def answer(self) -> dict:
        """Asks for a response and reads to its end; gives the response."""
        await self.connection.response.create()
        return (await self.until("response.done"))["response"]

    async def ask(self, text: str) -> str:
        """A written question and the words of the answer."""
        await self.write(text)
        response = await self.answer()
        assert response["status"] == "completed", response["status_details"]
        return rules.words(response)

    async def append(self, pcm: bytes) -> None:
        """Audio, as fast as it goes."""
        for piece in speech.chunks(pcm):
            await self.connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())

    async def speak(self, pcm: bytes) -> None:
        """Audio at the pace of speech."""
        async for piece in speech.paced(pcm):
            await self.connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())

    def audio(self, item_id: str) -> bytes:
        """All audio received of an item."""
        deltas = rules.of_type(self.frames, "response.output_audio.delta")
        return b"".join(base64.b64decode(f["delta"]) for f in deltas if f["item_id"] == item_id)


@pytest.fixture(scope="session")
def url() -> str:
    """Where the server is."""
    if "ANTIPHON_URL" not in os.environ:
        pytest.exit("ANTIPHON_URL is not set; run this through scripts/with-server", returncode=2)
    return os.environ["ANTIPHON_URL"]


@pytest.fixture
def client(url: str) -> AsyncOpenAI:
    """The official asynchronous client."""
    return AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY)


@pytest.fixture
def sync_client(url: str) -> OpenAI:
    """The official blocking client."""
    return OpenAI(base_url=f"{url}/v1", api_key=KEY)


@pytest.fixture
def connect(client: AsyncOpenAI):
    """Opens a talk; when it closes, the rules over the whole connection are checked."""

    @asynccontextmanager
    async def open_talk(model: str = "antiphon") -> AsyncIterator[Talk]:
        async with client.realtime.connect(model=model) as connection:
            talk = Talk(connection)
            await talk.until("session.created")
            yield talk
            rules.check_connection(talk.frames)

    return open_talk


@pytest.fixture
def record() -> Iterator[Record]:
    """For clients that hide their socket: give it the server's frames; the rules are checked when the test is over."""
    kept = Record()
    yield kept
    print(kept)  # pytest shows it where the test failed
    kept.check()
