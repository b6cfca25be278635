"""Turns: written, spoken, push-to-talk; what is remembered, and by whom."""

from __future__ import annotations

import asyncio

import frames as rules
import pytest
import speech
from frames import words

SPOKEN_ORDER = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]


async def test_session_is_whole(connect):
    async with connect("gpt-realtime") as talk:
        session = talk.frames[0]["session"]
        assert session["object"] == "realtime.session"
        assert session["output_modalities"] == ["audio"]
        assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
        assert session["audio"]["output"]["voice"]
        changed = await talk.update(instructions="Be brief.")
        assert changed["instructions"] == "Be brief."
        assert changed["id"] == session["id"]
        assert changed["audio"] == session["audio"], "a field that was not sent was changed"


async def test_what_other_clients_send_is_taken(connect):
    """The defaults of the Agents SDKs: foreign models, semantic turns, tracing."""
    async with connect() as talk:
        await talk.update(tracing="auto")
        turns = {"type": "semantic_vad", "eagerness": "auto", "interrupt_response": True}
        session = await talk.update(
            model="gpt-realtime",
            audio={
                "input": {"turn_detection": turns, "transcription": {"model": "gpt-4o-mini-transcribe"}},
                "output": {"voice": "marin"},
            },
        )
        assert session["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"
        await talk.text_only()
        assert await talk.ask("Hello.")


async def test_written_turn(connect):
    async with connect() as talk:
        await talk.text_only()
        await talk.ask("My name is Clara.")
        assert "clara" in (await talk.ask("What is my name?")).lower()
        text = rules.of_type(talk.frames, "response.output_text.done")[-1]["text"]
        pieces = [f["delta"] for f in rules.of_type(talk.frames, "response.output_text.delta")]
        assert "".join(pieces).endswith(text)
        assert not rules.of_type(talk.frames, "response.output_audio.delta")


async def test_written_turn_answered_aloud(connect):
    async with connect() as talk:
        await talk.write("Hello.")
        response = await talk.answer()
        item = response["output"][0]
        pcm = talk.audio(item["id"])
        assert len(pcm) > speech.RATE, "less than half a second"
        assert speech.loudness(pcm) > 0.005
        deltas = rules.of_type(talk.frames, "response.output_audio_transcript.delta")
        transcript = rules.of_type(talk.frames, "response.output_audio_transcript.done")[-1]["transcript"]
        assert "".join(f["delta"] for f in deltas) == transcript
        assert item["content"][0]["transcript"] == transcript


async def test_spoken_turns(connect):
    async with connect() as talk:
        await talk.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        start = len(talk.frames)
        for sentence, expected in [("My name is Anna.", "anna"), ("What is my name?", "anna")]:
            pcm = speech.silence(0.3) + speech.spoken(sentence) + speech.silence(1.5)
            _, done = await asyncio.gather(talk.speak(pcm), talk.until("response.done"))
            assert expected in words(done["response"]).lower()
        heard = rules.of_type(talk.frames, "conversation.item.input_audio_transcription.completed")
        assert [frame["transcript"].lower().strip(" .?!") for frame in heard] == ["my name is anna", "what is my name"]
        aside = ("rate_limits.updated", *(f"conversation.item.input_audio_transcription.{k}" for k in ("delta", "completed")))
        order = rules.types(talk.frames[start:], without=aside)
        assert order[: len(SPOKEN_ORDER)] == SPOKEN_ORDER
        assert order[-1] == "response.done"


async def test_push_to_talk(connect):
    async with connect() as talk:
        session = await talk.update(audio={"input": {"turn_detection": None}})
        assert session["audio"]["input"]["turn_detection"] is None
        await talk.append(speech.spoken("My name is Peter.") + speech.silence(0.2))
        await talk.connection.input_audio_buffer.commit()
        committed = await talk.until("input_audio_buffer.committed")
        item = (await talk.until("conversation.item.done"))["item"]
        assert item["id"] == committed["item_id"]
        response = await talk.answer()
        assert response["status"] == "completed"
        assert "peter" in words(response).lower()
        assert not rules.of_type(talk.frames, "input_audio_buffer.speech_started")
        assert len(rules.of_type(talk.frames, "response.created")) == 1, "commit alone must not answer"


async def test_people_at_once_stay_apart(connect):
    async def person(name: str) -> str:
        async with connect() as talk:
            await talk.text_only()
            await talk.ask(f"My name is {name}.")
            await talk.ask("Hello.")
            return (await talk.ask("What is my name?")).lower()

    names = ["anna", "peter", "laura", "david", "sophie", "robert"]
    answers = await asyncio.gather(*(person(name.capitalize()) for name in names))
    for own, answer in zip(names, answers, strict=True):
        assert [name for name in names if name in answer] == [own], answer


async def test_out_of_band_response_leaves_no_trace(connect):
    async with connect() as talk:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]}
        await talk.connection.response.create(
            response={
                "conversation": "none",
                "output_modalities": ["text"],
                "metadata": {"topic": "aside"},
                "input": [item],
            }
        )
        response = (await talk.until("response.done"))["response"]
        assert response["status"] == "completed"
        assert response["metadata"] == {"topic": "aside"}
        assert response.get("conversation_id") is None
        assert not rules.of_type(talk.frames, "conversation.item.added")


async def test_out_of_band_response_runs_beside_the_answer(connect):
    """What OpenAI calls an asynchronous response: told apart by its metadata, and not in anybody's way."""
    async with connect() as talk:
        await talk.ask("My name is Clara.")
        await talk.write("Tell me a story.")
        create = talk.connection.response.create
        await create(response={"metadata": {"which": "story"}})
        await talk.until("response.output_audio.delta")
        await create(response={"conversation": "none", "output_modalities": ["text"], "metadata": {"which": "aside"}, "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is my name?"}]},
        ]})  # fmt: skip
        aside = (await talk.until("response.done"))["response"]
        assert (aside["metadata"], aside["status"]) == ({"which": "aside"}, "completed")
        assert "clara" not in words(aside).lower(), "its input is all that it knows"
        await talk.connection.response.cancel()
        story = (await talk.until("response.done"))["response"]
        assert (story["metadata"], story["status"]) == ({"which": "story"}, "cancelled")


async def test_input_by_reference(connect):
    async with connect() as talk:
        await talk.text_only()
        told = await talk.write("My name is Clara.")
        await talk.write("My name is Peter.")
        question = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is my name?"}]}
        inputs = [{"type": "item_reference", "id": told["id"]}, question]
        await talk.connection.response.create(response={"conversation": "none", "input": inputs})
        answer = words((await talk.until("response.done"))["response"]).lower()
        assert "clara" in answer and "peter" not in answer, answer


async def test_the_sdk_iterates_over_typed_events(client):
    """The loop of the SDK's own examples."""
    async with client.realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        content = [{"type": "input_text", "text": "Hello."}]
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await connection.response.create()
        text = ""
        async for event in connection:
            assert event.type != "error", event
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.output_text.done":
                assert event.text == text.strip()
            elif event.type == "response.done":
                assert event.response.usage.total_tokens > 0
                break
        assert text


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
async def test_telephone_audio(connect, law):
    """G.711 both ways, as programs for telephones ask for it."""
    async with connect() as talk:
        kind = {"type": f"audio/{law}"}
        session = await talk.update(audio={"input": {"format": kind, "turn_detection": None}, "output": {"format": kind}})
        assert [session["audio"][way]["format"] for way in ("input", "output")] == [kind, kind]
        for sentence in ("My name is Peter.", "What is my name?"):
            await talk.append(speech.telephone(speech.spoken(sentence) + speech.silence(0.2), law))
            await talk.connection.input_audio_buffer.commit()
            await talk.until("input_audio_buffer.committed")
            response = await talk.answer()
        assert "peter" in words(response).lower()
        item = response["output"][0]
        pcm = speech.from_telephone(talk.audio(item["id"]), law)
        assert speech.loudness(pcm) > 0.005
        assert 0.5 < len(pcm) / 2 / speech.TELEPHONE_RATE < 10, "not 8,000 samples a second"
