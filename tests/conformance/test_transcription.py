"""Sessions that transcribe, and their translations, through the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import frames as rules
import pytest
import speech
from conftest import Talk

HEARD = "conversation.item.input_audio_transcription"
SENTENCE = "My name is Anna and I live in Oslo."
LOGPROBS = "item.input_audio_transcription.logprobs"


class Listening(Talk):
    """A talk that may hold events of our own, which the client asked for and the SDK's models do not know."""

    def __init__(self, connection) -> None:
        super().__init__(connection)
        self.ours: list[dict] = []

    async def next(self) -> dict:
        data = await asyncio.wait_for(self.connection.recv_bytes(), 60)
        frame = json.loads(data)
        if frame["type"].startswith("antiphon."):
            self.ours.append(frame)
            return frame
        self.frames.append(rules.validate(data))
        return frame

    async def update(self, **session: object) -> dict:
        await self.connection.session.update(session={"type": "transcription", **session})
        return (await self.until("session.updated"))["session"]

    async def hear(self, sentence: str, last: str) -> dict:
        """Speaks and reads on to `last`."""
        pcm = speech.silence(0.3) + speech.spoken(sentence) + speech.silence(1.5)
        _, frame = await asyncio.gather(self.speak(pcm), self.until(last))
        return frame


@pytest.fixture
def listen(client):
    @asynccontextmanager
    async def open_session() -> AsyncIterator[Listening]:
        async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
            talk = Listening(connection)
            await talk.until("session.created")
            yield talk
            rules.check_connection(talk.frames)
            assert not [f for f in talk.frames if f["type"].startswith("response.")], "it answered"

    return open_session


async def test_session_and_turn(listen):
    async with listen() as talk:
        session = talk.frames[0]["session"]
        assert (session["type"], session["object"]) == ("transcription", "realtime.transcription_session")
        wanted = {"model": "gpt-4o-transcribe", "language": "en", "keywords": ["Anna", "Oslo"], "delay": "minimal"}
        session = await talk.update(audio={"input": {"transcription": wanted}}, include=[LOGPROBS])
        assert session["audio"]["input"]["transcription"] == wanted
        done = await talk.hear(SENTENCE, f"{HEARD}.completed")
        assert done["transcript"].lower().strip(" .") == SENTENCE.lower().strip(" .")
        deltas = [f["delta"] for f in rules.of_type(talk.frames, f"{HEARD}.delta")]
        assert "".join(deltas) == done["transcript"]
        assert done["logprobs"] and all(p["logprob"] <= 0 for p in done["logprobs"])
        order = rules.types(talk.frames, without=("session.created", "session.updated", f"{HEARD}.delta"))
        assert order == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            f"{HEARD}.completed",
        ]


async def test_push_to_talk(listen):
    async with listen() as talk:
        session = await talk.update(audio={"input": {"turn_detection": None}})
        assert session["audio"]["input"]["turn_detection"] is None
        await talk.append(speech.spoken("My name is Peter.") + speech.silence(0.2))
        await talk.connection.input_audio_buffer.commit()
        done = await talk.until(f"{HEARD}.completed")
        assert "peter" in done["transcript"].lower()
        assert "logprobs" not in done, "nobody asked for them"


async def test_responses_and_another_type_are_refused(listen, connect):
    async with listen() as talk:
        await talk.connection.response.create(event_id="mine")
        error = (await talk.until("error"))["error"]
        assert error["event_id"] == "mine" and "transcription" in error["message"]
        await talk.connection.session.update(session={"type": "realtime"})
        assert (await talk.until("error"))["error"]["param"] == "session.type"
        turns = {"type": "semantic_vad"}
        await talk.connection.session.update(
            session={"type": "transcription", "audio": {"input": {"turn_detection": turns}}}
        )
        assert (await talk.until("error"))["error"]["param"] == "session.audio.input.turn_detection.type"
    async with connect() as talk:
        await talk.connection.session.update(session={"type": "transcription"})
        error = (await talk.until("error"))["error"]
        assert error["param"] == "session.type" and "intent=transcription" in error["message"]


async def test_translation(listen):
    """The starter model cannot translate: this is about the chain of events."""
    async with listen() as talk:
        session = await talk.update(antiphon={"translate_to": ["es", "de"]})
        assert session["antiphon"] == {"translate_to": ["es", "de"]}
        done = await talk.hear(SENTENCE, f"{HEARD}.completed")

        def ended() -> list[dict]:
            return [f for f in talk.ours if f["type"].split(".")[-1] in ("completed", "failed")]

        while len(ended()) < 2:
            await talk.next()
        assert sorted(f["language"] for f in ended()) == ["de", "es"]
        assert {f["item_id"] for f in talk.ours} == {done["item_id"]}
        last = {}
        for frame in talk.ours:
            if frame["type"] == "antiphon.translation.partial":
                assert frame["revision"] > last.get(frame["language"], 0), "a newer text has a higher revision"
                assert done["transcript"].startswith(frame["source"])
                last[frame["language"]] = frame["revision"]
