"""`openai-agents` for Python: `RealtimeRunner` with only the address changed.

Its model validates each server event against the SDK's own types and reports a misfit as an error event; none may
come, nor any other error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import speech
from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimePlaybackTracker, RealtimeRunner, RealtimeSession
from record import Record

ASKED: list[str] = []


@function_tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    ASKED.append(city)
    return '{"weather": "sunny", "temperature": 21}'


@pytest.fixture
def run(url, record):
    """Opens a session of an agent; every event of it is read, as an application does."""

    @asynccontextmanager
    async def open_session(tools: list | None = None, **model_config: object) -> AsyncIterator[RealtimeSession]:
        agent = RealtimeAgent(name="Assistant", instructions="Be brief.", tools=tools or [])
        address = url.replace("http", "ws", 1) + "/v1/realtime?model=gpt-realtime"
        config = {"url": address, "api_key": "unused-on-loopback", **model_config}
        async with await RealtimeRunner(agent).run(model_config=config) as session:
            reader = asyncio.create_task(_read(session, record))
            await record.until("session.updated")
            yield session
            reader.cancel()

    return open_session


async def _read(session: RealtimeSession, record: Record) -> None:
    async for event in session:
        if event.type == "error":
            record.problems.append(f"error event: {event.error!r}")
        elif event.type == "raw_model_event":
            if event.data.type == "raw_server_event":
                record.take(event.data.data)
            elif event.data.type == "exception":
                record.problems.append(f"{event.data.context}: {event.data.exception!r}")


async def _speak(session: RealtimeSession, pcm: bytes) -> None:
    async for piece in speech.paced(pcm):
        await session.send_audio(piece)


async def test_written_turns(run, record):
    async with run() as session:
        await session.send_message("My name is Clara.")
        await record.completed()
        await session.send_message("What is my name?")
        assert "clara" in (await record.completed()).lower()


async def test_spoken_turns(run, record):
    async with run() as session:
        for sentence in ("My name is Anna.", "What is my name?"):
            pcm = speech.silence(0.3) + speech.spoken(sentence) + speech.silence(1.5)
            _, answer = await asyncio.gather(_speak(session, pcm), record.completed())
        assert "anna" in answer.lower()
        heard = [frame["transcript"].lower() for frame in record.of_type("conversation.item.input_audio_transcription.completed")]
        assert ["my name is anna" in heard[0], "what is my name" in heard[1]] == [True, True], heard


async def test_tool_call(run, record):
    ASKED.clear()
    async with run(tools=[get_weather]) as session:
        await session.send_message("What is the weather in Paris?")
        await record.completed()
        answer = await record.completed()  # the runner sends the result and asks on by itself
        assert ASKED == ["Paris"]
        assert "sunny" in answer and "Paris" in answer, answer


async def test_barge_in_truncates_to_what_was_heard(run, record):
    tracker = RealtimePlaybackTracker()
    async with run(playback_tracker=tracker) as session:
        await session.send_message("Tell me a story.")
        item = (await record.until("response.output_audio.delta"))["item_id"]
        tracker.on_play_ms(item, 0, 700)
        pcm = speech.silence(0.2) + speech.spoken("What is my name?") + speech.silence(1.5)
        speaking = asyncio.create_task(_speak(session, pcm))
        cut = (await record.until("response.done"))["response"]
        assert (cut["status"], cut["status_details"]["reason"]) == ("cancelled", "turn_detected")
        truncated = await record.until("conversation.item.truncated")
        assert (truncated["item_id"], truncated["audio_end_ms"]) == (item, 700)
        kept = (await record.until("conversation.item.retrieved"))["item"]
        said = "".join(f["delta"] for f in record.of_type("response.output_audio_transcript.delta") if f["item_id"] == item)
        assert said.startswith((kept["content"][0].get("transcript") or "").rstrip(" ."))
        assert len(kept["content"][0].get("transcript") or "") < len(said)
        await record.completed()
        await speaking


async def test_interrupt_stops_the_answer(run, record):
    """With server turns the model only truncates what it plays; that must be enough."""
    async with run() as session:
        await session.send_message("Tell me a story.")
        item = (await record.until("response.output_audio.delta"))["item_id"]
        await session.interrupt()
        cut = (await record.until("response.done"))["response"]
        assert (cut["status"], cut["status_details"]["reason"]) == ("cancelled", "client_cancelled")
        assert (await record.until("conversation.item.truncated"))["item_id"] == item
        await session.send_message("Hello.")
        assert await record.completed()
