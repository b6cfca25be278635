"""The SDK's blocking client: the same protocol through its other class."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

import frames as rules
import pytest
import speech
from openai import OpenAI
from openai.resources.realtime.realtime import RealtimeConnection
from test_edges import WEATHER


class Talk:
    """One connection; each frame validated when it arrives."""

    def __init__(self, connection: RealtimeConnection) -> None:
        self.connection = connection
        self.frames: list[dict] = []

    def until(self, kind: str) -> dict:
        """Reads on to the next frame of this type."""
        while True:
            self.frames.append(rules.validate(self.connection.recv_bytes()))
            frame = self.frames[-1]
            if frame["type"] == kind:
                return frame
            assert frame["type"] != "error", f"waiting for {kind}: {frame['error']}\n{rules.brief(self.frames)}"

    def write(self, text: str) -> None:
        """A user message."""
        content = [{"type": "input_text", "text": text}]
        self.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})

    def completed(self) -> dict:
        """The next response, which must be whole."""
        response = self.until("response.done")["response"]
        assert response["status"] == "completed", response["status_details"]
        return response


@pytest.fixture
def connect(sync_client: OpenAI):
    """Opens a talk; when it closes, the rules over the whole connection are checked."""

    @contextmanager
    def open_talk(**session: object) -> Iterator[Talk]:
        with sync_client.realtime.connect(model="antiphon") as connection:
            talk = Talk(connection)
            talk.until("session.created")
            connection.session.update(session={"type": "realtime", **session})
            talk.until("session.updated")
            yield talk
            rules.check_connection(talk.frames)

    return open_talk


def test_written_then_push_to_talk(connect):
    with connect(output_modalities=["text"], audio={"input": {"turn_detection": None}}) as talk:
        talk.write("My name is Peter.")
        talk.connection.response.create()
        talk.completed()
        pcm = speech.spoken("What is my name?") + speech.silence(0.2)
        talk.connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())
        talk.connection.input_audio_buffer.commit()
        talk.connection.response.create()
        assert "peter" in rules.words(talk.completed()).lower()


def test_cancel_truncate_retrieve_delete(connect):
    with connect() as talk:
        talk.write("Tell me a story.")
        talk.connection.response.create()
        item_id = talk.until("response.output_audio.delta")["item_id"]
        talk.connection.response.cancel()
        response = talk.until("response.done")["response"]
        assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        items = talk.connection.conversation.item
        items.truncate(item_id=item_id, content_index=0, audio_end_ms=0)
        talk.until("conversation.item.truncated")
        items.retrieve(item_id=item_id)
        assert talk.until("conversation.item.retrieved")["item"]["content"][0].get("transcript", "") == ""
        items.delete(item_id=item_id)
        assert talk.until("conversation.item.deleted")["item_id"] == item_id
        talk.write("Hello.")
        talk.connection.response.create()
        talk.completed()


def test_function_call(connect):
    with connect(output_modalities=["text"], tools=[WEATHER], tool_choice="auto") as talk:
        talk.write("What is the weather in Paris?")
        talk.connection.response.create()
        call = next(item for item in talk.completed()["output"] if item["type"] == "function_call")
        assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Paris"})
        output = '{"weather": "sunny", "temperature": 21}'
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
        talk.connection.conversation.item.create(item=result)
        talk.connection.response.create()
        answer = rules.words(talk.completed())
        assert "sunny" in answer and "Paris" in answer, answer
