"""Transcription sessions (`?intent=transcription`) through the SDK."""

from __future__ import annotations

import asyncio

import frames as rules
import speech
from conftest import Talk


async def test_transcription_session(client):
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        talk = Talk(connection)
        created = (await talk.until("session.created"))["session"]
        assert (created["type"], created["object"]) == ("transcription", "realtime.transcription_session")
        audio = {"input": {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": {"type": "server_vad"}}}
        await connection.session.update(session={"type": "transcription", "audio": audio})
        await talk.until("session.updated")
        heard = []
        for sentence in ("My name is Anna.", "What is my name?"):
            pcm = speech.silence(0.3) + speech.spoken(sentence) + speech.silence(1.5)
            _, done = await asyncio.gather(
                talk.speak(pcm), talk.until("conversation.item.input_audio_transcription.completed")
            )
            heard.append(done["transcript"].lower().strip(" .?"))
            deltas = rules.of_type(talk.frames, "conversation.item.input_audio_transcription.delta")
            said = "".join(frame["delta"] for frame in deltas if frame["item_id"] == done["item_id"])
            assert said.strip() in ("", done["transcript"].strip()), "deltas are never taken back"
        assert heard == ["my name is anna", "what is my name"]
        assert not rules.of_type(talk.frames, "response.created"), "a transcription session answers nothing"
        rules.check_connection(talk.frames)
