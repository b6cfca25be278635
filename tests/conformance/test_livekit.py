"""LiveKit Agents' `openai.realtime.RealtimeModel` with `base_url` changed, driven as an agent session drives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import speech
from frames import of_type
from livekit import rtc
from livekit.agents import llm
from livekit.plugins.openai.realtime import RealtimeModel, RealtimeSession
from record import DEADLINE, Record


@dataclass
class Reply:
    """One generation, read to its end."""

    message_id: str = ""
    text: str = ""
    pcm: bytes = b""
    calls: list[llm.FunctionCall] = field(default_factory=list)


@llm.function_tool
async def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"{city} is not asked by itself"


@pytest.fixture
def open_session(url, record):
    """Opens a session; each error event of it is a problem."""

    @asynccontextmanager
    async def open_one(own_turns: bool = False, **options: object) -> AsyncIterator[RealtimeSession]:
        model = RealtimeModel(base_url=f"{url}/v1", api_key="unused-on-loopback", **options)
        session = model.session(turn_detection_disabled=own_turns)
        session.on("openai_server_event_received", record.take)
        session.on("error", lambda event: record.problems.append(f"error event: {event.error!r}"))
        try:
            await record.until("session.updated")
            yield session
        finally:
            await session.aclose()
            await model.aclose()

    return open_one


async def _collect(created: llm.GenerationCreatedEvent) -> Reply:
    reply = Reply()

    async def messages() -> None:
        async for message in created.message_stream:
            reply.message_id = message.message_id
            assert "text" in await message.modalities
            await asyncio.gather(texts(message), audio(message))

    async def texts(message: llm.MessageGeneration) -> None:
        async for piece in message.text_stream:
            reply.text += piece

    async def audio(message: llm.MessageGeneration) -> None:
        async for frame in message.audio_stream:
            reply.pcm += bytes(frame.data)

    async def calls() -> None:
        async for call in created.function_stream:
            reply.calls.append(call)

    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(messages(), calls())
    return reply


async def _reply(session: RealtimeSession) -> Reply:
    return await _collect(await session.generate_reply())


async def _tell(session: RealtimeSession, text: str) -> Reply:
    context = session.chat_ctx.copy()
    context.add_message(role="user", content=text)
    await session.update_chat_ctx(context)
    return await _reply(session)


async def _speak(session: RealtimeSession, pcm: bytes) -> None:
    async for piece in speech.paced(pcm):
        session.push_audio(rtc.AudioFrame(piece, speech.RATE, 1, len(piece) // 2))


def _said(record: Record, item: str) -> str:
    deltas = of_type(record.frames, "response.output_audio_transcript.delta")
    return "".join(frame["delta"] for frame in deltas if frame["item_id"] == item)


async def test_written_turns(open_session):
    async with open_session() as session:
        await session.update_instructions("Be brief.")
        first = await _tell(session, "My name is Clara.")
        assert speech.loudness(first.pcm) > 0.005
        assert "clara" in (await _tell(session, "What is my name?")).text.lower()


async def test_spoken_turns(open_session):
    async with open_session() as session:
        replies: asyncio.Queue = asyncio.Queue()
        heard: list[str] = []
        session.on("generation_created", replies.put_nowait)
        session.on("input_audio_transcription_completed", lambda event: heard.append(event.transcript) if event.is_final else None)
        for sentence in ("My name is Anna.", "What is my name?"):
            pcm = speech.silence(0.3) + speech.spoken(sentence) + speech.silence(1.5)
            _, created = await asyncio.gather(_speak(session, pcm), asyncio.wait_for(replies.get(), DEADLINE))
            reply = await _collect(created)
        assert "anna" in reply.text.lower()
        assert speech.loudness(reply.pcm) > 0.005
        assert [words.lower().strip(" .?") for words in heard] == ["my name is anna", "what is my name"]
        context = [item.text_content for item in session.chat_ctx.items if item.type == "message"]
        assert len(context) == 4 and "anna" in context[0].lower(), context


async def test_tool_call(open_session):
    async with open_session() as session:
        await session.update_tools([get_weather])
        (call,) = (await _tell(session, "What is the weather in Paris?")).calls
        assert (call.name, call.arguments.replace(" ", "")) == ("get_weather", '{"city":"Paris"}')
        context = session.chat_ctx.copy()
        output = '{"weather": "sunny", "temperature": 21}'
        context.items.append(llm.FunctionCallOutput(call_id=call.call_id, name=call.name, output=output, is_error=False))
        await session.update_chat_ctx(context)
        answer = (await _reply(session)).text
        assert "sunny" in answer and "Paris" in answer, answer


async def test_barge_in_truncates_to_what_was_heard(open_session, record):
    async with open_session() as session:
        replies: asyncio.Queue = asyncio.Queue()
        context = session.chat_ctx.copy()
        context.add_message(role="user", content="Tell me a story.")
        await session.update_chat_ctx(context)
        story = asyncio.create_task(_reply(session))
        await record.until("response.output_audio.delta")
        session.on("generation_created", replies.put_nowait)
        started = asyncio.Event()
        session.on("input_speech_started", lambda _: started.set())
        pcm = speech.silence(0.2) + speech.spoken("What is my name?") + speech.silence(1.5)
        speaking = asyncio.create_task(_speak(session, pcm))
        await asyncio.wait_for(started.wait(), DEADLINE)
        cut = await story  # its streams end with the interruption
        session.truncate(message_id=cut.message_id, modalities=["audio"], audio_end_ms=700)
        truncated = await record.until("conversation.item.truncated")
        assert (truncated["item_id"], truncated["audio_end_ms"]) == (cut.message_id, 700)
        assert (await _collect(await asyncio.wait_for(replies.get(), DEADLINE))).text
        await speaking
        first = of_type(record.frames, "response.done")[0]["response"]
        assert (first["status"], first["status_details"]["reason"]) == ("cancelled", "turn_detected")


async def test_interrupt(open_session, record):
    async with open_session() as session:
        context = session.chat_ctx.copy()
        context.add_message(role="user", content="Tell me a story.")
        await session.update_chat_ctx(context)
        story = asyncio.create_task(_reply(session))
        await record.until("response.output_audio.delta")
        session.interrupt()
        cut = await story
        assert cut.text and cut.text == _said(record, cut.message_id)
        assert of_type(record.frames, "response.done")[0]["response"]["status_details"]["reason"] == "client_cancelled"
        assert (await _tell(session, "Hello.")).text


async def test_turns_found_by_the_agent(open_session, record):
    """Without server turns the agent session clears, commits and asks for the reply."""
    async with open_session(own_turns=True) as session:
        await _speak(session, speech.spoken("My name is Peter."))
        session.clear_audio()
        await record.until("input_audio_buffer.cleared")
        for sentence in ("My name is Anna.", "What is my name?"):
            await _speak(session, speech.spoken(sentence) + speech.silence(0.2))
            session.commit_audio()
            reply = await _reply(session)
        assert "anna" in reply.text.lower() and "peter" not in reply.text.lower(), reply.text
        assert not of_type(record.frames, "input_audio_buffer.speech_started")


async def test_chat_context_is_changed(open_session):
    """Items are put in between, replaced and deleted; the model knows only what is left."""
    async with open_session() as session:
        context = llm.ChatContext.empty()
        context.add_message(role="user", content="My name is Clara.")
        context.add_message(role="assistant", content="Nice to meet you, Clara.")
        context.add_message(role="user", content="Hello.")
        await session.update_chat_ctx(context)
        assert [item.id for item in session.chat_ctx.items] == [item.id for item in context.items]
        changed = llm.ChatContext(
            [item.model_copy(update={"content": [item.text_content.replace("Clara", "Helen")]}) for item in context.items[:2]]
        )
        await session.update_chat_ctx(changed)
        assert [item.text_content for item in session.chat_ctx.items] == ["My name is Helen.", "Nice to meet you, Helen."]
        answer = (await _tell(session, "What is my name?")).text.lower()
        assert "helen" in answer and "clara" not in answer, answer


async def test_context_outlives_the_connection(open_session):
    """The plugin renews its connection and says everything again."""
    async with open_session(max_session_duration=5.0) as session:
        await _tell(session, "My name is Clara.")
        renewed = asyncio.Event()
        session.on("session_reconnected", lambda _: renewed.set())
        await asyncio.wait_for(renewed.wait(), DEADLINE)
        assert "clara" in (await _tell(session, "What is my name?")).text.lower()
