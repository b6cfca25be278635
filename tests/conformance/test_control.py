"""Cancelling, interrupting, and correcting the history."""

from __future__ import annotations

import asyncio
import math

import frames as rules
import pytest
import speech

LONG = "Tell me a story."


async def test_cancel(connect):
    async with connect() as talk:
        await talk.write(LONG)
        await talk.connection.response.create()
        await talk.until("response.output_audio.delta")
        await talk.connection.response.cancel()
        response = (await talk.until("response.done"))["response"]
        assert response["status"] == "cancelled"
        assert response["status_details"]["reason"] == "client_cancelled"
        assert response["output"][0]["status"] == "incomplete"
        ends = {"response.output_audio.done", "response.content_part.done", "response.output_item.done"}
        assert ends <= {frame["type"] for frame in talk.frames}
        await talk.write("Hello.")
        assert (await talk.answer())["status"] == "completed"


async def test_cancel_of_nothing_is_harmless(connect):
    async with connect() as talk:
        await talk.connection.response.cancel(event_id="my-cancel")
        error = (await talk.until("error"))["error"]
        assert error["code"] == "response_cancel_not_active"
        assert error["event_id"] == "my-cancel"
        assert error["message"].startswith("Cancellation failed")


async def test_one_response_at_a_time(connect):
    async with connect() as talk:
        await talk.write("My name is Clara.")
        await talk.connection.response.create()
        created = await talk.until("response.created")
        await talk.connection.response.create(event_id="too-early")
        error = (await talk.until("error"))["error"]
        assert error["code"] == "conversation_already_has_active_response"
        assert error["event_id"] == "too-early"
        done = (await talk.until("response.done"))["response"]
        assert done["id"] == created["response"]["id"]
        assert done["status"] == "completed"


async def test_speech_interrupts(connect):
    async with connect() as talk:
        await talk.write(LONG)
        await talk.connection.response.create()
        await talk.until("response.output_audio.delta")
        pcm = speech.silence(0.2) + speech.spoken("What is my name?") + speech.silence(1.5)
        speaking = asyncio.ensure_future(talk.speak(pcm))
        started = await talk.until("input_audio_buffer.speech_started")
        first = (await talk.until("response.done"))["response"]
        assert first["status"] == "cancelled"
        assert first["status_details"]["reason"] == "turn_detected"
        second = (await talk.until("response.done"))["response"]
        assert second["status"] == "completed"
        await speaking
        committed = rules.of_type(talk.frames, "input_audio_buffer.committed")
        assert committed[-1]["item_id"] == started["item_id"]
        late = talk.frames[talk.frames.index(started) :]
        assert not [f for f in rules.of_type(late, "response.output_audio.delta") if f["response_id"] == first["id"]]


async def test_truncate_retrieve_delete(connect):
    async with connect() as talk:
        await talk.write("My name is Clara.")
        item = (await talk.answer())["output"][0]
        spoken_ms = len(talk.audio(item["id"])) * 1000 // (2 * speech.RATE)
        assert spoken_ms > 1500, "too short to cut"
        items = talk.connection.conversation.item
        await items.truncate(item_id=item["id"], content_index=0, audio_end_ms=800)
        truncated = await talk.until("conversation.item.truncated")
        assert (truncated["item_id"], truncated["audio_end_ms"]) == (item["id"], 800)
        await items.retrieve(item_id=item["id"])
        kept = (await talk.until("conversation.item.retrieved"))["item"]
        before = item["content"][0]["transcript"]
        after = kept["content"][0].get("transcript") or ""
        assert len(after) < len(before)
        assert before.startswith(after.rstrip(" .")), "not what was heard"
        await items.delete(item_id=item["id"])
        assert (await talk.until("conversation.item.deleted"))["item_id"] == item["id"]
        await items.retrieve(item_id=item["id"], event_id="gone")
        error = (await talk.until("error"))["error"]
        assert (error["code"], error["event_id"]) == ("item_retrieve_invalid_item_id", "gone")


async def test_truncate_at_the_end_of_what_was_received(connect):
    """The clients round the length of the audio up or down; an error would end Pipecat's session."""
    async with connect() as talk:
        for sentence in ("Hello.", "My name is Clara.", "What is my name?"):
            await talk.write(sentence)
            item = (await talk.answer())["output"][0]
            samples = len(talk.audio(item["id"])) // 2
            for end in (math.floor(samples * 1000 / speech.RATE), math.ceil(samples * 1000 / speech.RATE)):
                await talk.connection.conversation.item.truncate(item_id=item["id"], content_index=0, audio_end_ms=end)
                await talk.until("conversation.item.truncated")
        await talk.connection.conversation.item.retrieve(item_id=item["id"])
        kept = (await talk.until("conversation.item.retrieved"))["item"]
        assert kept["content"] == item["content"], "cut though all was heard"


async def test_truncate_beyond_the_audio_is_refused(connect):
    async with connect() as talk:
        await talk.write("Hello.")
        item = (await talk.answer())["output"][0]
        change = talk.connection.conversation.item.truncate
        await change(item_id=item["id"], content_index=0, audio_end_ms=10_000_000, event_id="too-far")
        assert (await talk.until("error"))["error"]["event_id"] == "too-far"


async def test_deleted_words_are_forgotten(connect):
    async with connect() as talk:
        await talk.text_only()
        told = await talk.write("My name is Helen.")
        answer = (await talk.answer())["output"][0]
        for item in (told, answer):
            await talk.connection.conversation.item.delete(item_id=item["id"])
            await talk.until("conversation.item.deleted")
        assert "helen" not in (await talk.ask("What is my name?")).lower()


async def test_items_go_where_they_are_put(connect):
    async with connect() as talk:
        create = talk.connection.conversation.item.create

        def message(item_id: str) -> dict:
            content = [{"type": "input_text", "text": item_id}]
            return {"id": item_id, "type": "message", "role": "user", "content": content}

        await create(item=message("item_b"))
        assert (await talk.until("conversation.item.done"))["item"]["id"] == "item_b"
        await create(item=message("item_a"), previous_item_id="root")
        assert (await talk.until("conversation.item.done")).get("previous_item_id") is None
        await create(item=message("item_c"), previous_item_id="item_b")
        assert (await talk.until("conversation.item.done"))["previous_item_id"] == "item_b"
        await create(item=message("item_d"), previous_item_id="nowhere", event_id="lost")
        assert (await talk.until("error"))["error"]["event_id"] == "lost"


WORDS = "Nice to meet you, Clara."


@pytest.mark.parametrize(
    "part",
    [
        {"type": "output_text", "text": WORDS},
        {"type": "input_text", "text": WORDS},  # Pipecat
        {"type": "output_audio", "transcript": WORDS},  # an item put back as it came
        {"type": "output_audio", "transcript": WORDS, "audio": None},
    ],
    ids=["text", "input_text", "transcript", "no_audio"],
)
async def test_what_the_assistant_said_is_put_back(connect, part):
    async with connect() as talk:
        await talk.text_only()
        await talk.write("My name is Clara.")
        create = talk.connection.conversation.item.create
        await create(item={"type": "message", "role": "assistant", "status": "completed", "content": [part]})
        (kept,) = (await talk.until("conversation.item.done"))["item"]["content"]
        assert (kept.get("text") or kept.get("transcript"), kept["type"] == "output_audio") == (WORDS, "transcript" in part)
        assert "clara" in (await talk.ask("What is my name?")).lower()


async def test_clear_forgets_the_audio(connect):
    async with connect() as talk:
        await talk.update(audio={"input": {"turn_detection": None}})
        await talk.append(speech.spoken("Hello."))
        await talk.connection.input_audio_buffer.clear()
        await talk.until("input_audio_buffer.cleared")
        await talk.connection.input_audio_buffer.commit(event_id="empty")
        error = (await talk.until("error"))["error"]
        assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "empty")


BAD = {
    "no type": '{"event_id": "bad"}',
    "unknown type": '{"event_id": "bad", "type": "no.such.event"}',
    "no session": '{"event_id": "bad", "type": "session.update"}',
    "wrong type of field": '{"event_id": "bad", "type": "session.update", "session": {"type": "realtime", "instructions": 7}}',
    "unknown format": '{"event_id": "bad", "type": "session.update", "session": {"type": "realtime", '
    '"audio": {"input": {"format": {"type": "audio/mp3"}}}}}',
    "not base64": '{"event_id": "bad", "type": "input_audio_buffer.append", "audio": "%%%"}',
    "half a sample": '{"event_id": "bad", "type": "input_audio_buffer.append", "audio": "AAAA"}',
    "unknown item": '{"event_id": "bad", "type": "conversation.item.delete", "item_id": "item_none"}',
    "unknown role": '{"event_id": "bad", "type": "conversation.item.create", "item": '
    '{"type": "message", "role": "nobody", "content": []}}',
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD.keys())
async def test_bad_input_is_an_error_and_the_session_goes_on(connect, raw):
    async with connect() as talk:
        await talk.text_only()
        await talk.connection.send_raw(raw)
        error = (await talk.until("error"))["error"]
        assert error["event_id"] == "bad"
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        assert await talk.ask("Hello.")


async def test_what_is_not_json_is_an_error_and_the_session_goes_on(connect):
    async with connect() as talk:
        await talk.text_only()
        await talk.connection.send_raw("{not json")
        await talk.until("error")
        assert await talk.ask("Hello.")
