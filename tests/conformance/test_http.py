"""The endpoints beside the socket, as the official SDK uses them."""

from __future__ import annotations

import asyncio
import io
import json
import re
import wave

import frames as rules
import httpx2 as http
import pytest
import speech
from conftest import KEY, Talk
from frames import words
from openai import APIStatusError, AsyncOpenAI, NotFoundError

SENTENCES = ["What time is it?", "Good morning."]


def wav(pcm: bytes, rate: int = speech.RATE) -> io.BytesIO:
    """PCM as a file that the SDK can upload."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    file.name = "speech.wav"
    file.seek(0)
    return file


def recording(pause: float = 1.5) -> io.BytesIO:
    """Two sentences with a pause between them."""
    parts = [speech.spoken(text) for text in SENTENCES]
    return wav(speech.silence(0.4) + parts[0] + speech.silence(pause) + parts[1] + speech.silence(0.4))


def plain(text: str) -> str:
    """Letters alone, for comparing what was said."""
    return re.sub(r"[^a-z]+", " ", text.lower()).strip()


SAID = plain(" ".join(SENTENCES))


async def test_models(client: AsyncOpenAI):
    models = {model.id: model async for model in client.models.list()}
    kinds = {model.antiphon["kind"] for model in models.values()}
    assert kinds == {"speech_to_text", "language_model", "text_to_speech"}
    assert all(model.object == "model" and model.owned_by and model.created > 0 for model in models.values())
    speaker = next(model for model in models.values() if model.antiphon["kind"] == "text_to_speech")
    assert "alloy" in speaker.antiphon["voices"] and "en" in speaker.antiphon["languages"]
    assert (await client.models.retrieve(speaker.id)).id == speaker.id
    with pytest.raises(NotFoundError) as refused:
        await client.models.retrieve("gpt-9")
    assert refused.value.code == "model_not_found" and speaker.id in refused.value.message


async def test_transcription(client: AsyncOpenAI):
    heard = await client.audio.transcriptions.create(file=recording(), model="whisper-1", language="en", temperature=0)
    assert plain(heard.text) == SAID
    assert heard.usage.type == "duration" and heard.usage.seconds > 3


async def test_transcription_formats(client: AsyncOpenAI):
    async def create(**options: object):
        return await client.audio.transcriptions.create(file=recording(), model="whisper-1", **options)

    assert plain(await create(response_format="text")) == SAID
    verbose = await create(response_format="verbose_json", timestamp_granularities=["segment"])
    first, second = verbose.segments
    assert (plain(first.text), plain(second.text)) == tuple(plain(text) for text in SENTENCES)
    assert 0.2 < first.start < 0.7 and first.end + 1.0 < second.start < second.end <= verbose.duration
    assert verbose.language == "en" and plain(verbose.text) == SAID
    assert verbose.words is None
    srt = await create(response_format="srt")
    assert re.match(r"1\n00:00:00,\d{3} --> 00:00:0\d,\d{3}\n", srt) and "\n\n2\n" in srt
    assert (await create(response_format="vtt")).startswith("WEBVTT\n\n00:00:00.")


async def test_transcription_tells_when_words_were_said(client: AsyncOpenAI):
    async def create(*granularities: str):
        return await client.audio.transcriptions.create(
            file=recording(), model="whisper-1", response_format="verbose_json",
            timestamp_granularities=list(granularities))

    heard = await create("word", "segment")
    assert " ".join(word.word for word in heard.words) == heard.text and plain(heard.text) == SAID
    assert all(word.start <= word.end <= heard.duration for word in heard.words)
    assert all(a.end <= b.start for a, b in zip(heard.words, heard.words[1:]))
    # Each word lies within its segment, give or take what a soft begin or end is.
    words = iter(heard.words)
    for segment in heard.segments:
        for word in (next(words) for _ in segment.text.split()):
            assert segment.start - 0.3 <= word.start and word.end <= segment.end + 0.3, (word, segment)
    alone = await create("word")
    assert alone.segments is None and alone.words == heard.words


async def test_transcription_streams(client: AsyncOpenAI):
    stream = await client.audio.transcriptions.create(file=recording(), model="whisper-1", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text
    assert plain(events[-1].text) == SAID


async def test_transcription_tells_how_sure_it_is(client: AsyncOpenAI):
    heard = await client.audio.transcriptions.create(file=recording(), model="whisper-1", include=["logprobs"])
    assert heard.logprobs and all(token.logprob <= 0 for token in heard.logprobs)
    assert plain("".join(token.token for token in heard.logprobs)) == plain(heard.text)


async def test_transcription_of_a_long_file(client: AsyncOpenAI):
    pcm = b"".join(speech.spoken(text) + speech.silence(0.9) for text in SENTENCES * 12)
    heard = await client.audio.transcriptions.create(file=wav(pcm), model="whisper-1", response_format="verbose_json")
    assert heard.duration > 35
    assert plain(heard.text) == " ".join([SAID] * 12)
    assert all(a.end <= b.start for a, b in zip(heard.segments, heard.segments[1:]))


async def test_transcription_errors(client: AsyncOpenAI):
    async def refusal(file: io.BytesIO, **options: object) -> APIStatusError:
        with pytest.raises(APIStatusError) as error:
            await client.audio.transcriptions.create(**{"file": file, "model": "whisper-1", **options})
        return error.value

    text = io.BytesIO(b"this is a letter, not a recording")
    text.name = "speech.mp3"
    error = await refusal(text)
    assert (error.status_code, error.param) == (400, "file") and "flac" in error.message
    error = await refusal(recording(), model="wisper")
    assert (error.status_code, error.code) == (404, "model_not_found") and "whisper" in error.message
    error = await refusal(recording(), timestamp_granularities=["word"], response_format="json")
    assert (error.status_code, error.param) == (400, "timestamp_granularities")
    error = await refusal(recording(), timestamp_granularities=["letter"], response_format="verbose_json")
    assert (error.status_code, error.param) == (400, "timestamp_granularities")
    error = await refusal(recording(), language="xx")
    assert error.status_code == 400 and "language" in error.message
    large = wav(bytes(26 << 20))
    error = await refusal(large)
    assert (error.status_code, error.code) == (413, "request_too_large")


async def test_speech_streams(client: AsyncOpenAI):
    text = "Good morning. " * 20
    create = client.audio.speech.with_streaming_response.create
    async with create(model="tts-1", voice="marin", input=text, response_format="pcm") as response:
        assert response.headers["content-type"] == "audio/pcm"
        assert "content-length" not in response.headers
        chunks = [chunk async for chunk in response.iter_bytes()]
    pcm = b"".join(chunks)
    assert len(chunks) > 3 and len(pcm) % 2 == 0
    assert len(pcm) / 2 / speech.RATE > 10 and speech.loudness(pcm) > 0.005
    async with create(model="tts-1", voice={"id": "de"}, input="Guten Morgen.") as response:
        assert response.headers["content-type"] == "audio/wav"
        file = await response.read()
    assert file[:4] == b"RIFF" and int.from_bytes(file[24:28], "little") == speech.RATE


async def test_what_is_spoken_is_understood(client: AsyncOpenAI):
    file = io.BytesIO((await client.audio.speech.create(model="tts-1", voice="alloy", input=SENTENCES[0])).content)
    file.name = "speech.wav"
    heard = await client.audio.transcriptions.create(file=file, model="whisper-1")
    assert plain(heard.text) == plain(SENTENCES[0])


async def test_speech_events(client: AsyncOpenAI, url: str):
    body = {"model": "tts-1", "voice": "alloy", "input": "Good morning.", "response_format": "pcm", "stream_format": "sse"}
    async with http.AsyncClient() as raw:
        answer = await raw.post(f"{url}/v1/audio/speech", json=body)
    assert answer.headers["content-type"] == "text/event-stream"
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done" and "total_tokens" in events[-1]["usage"]


async def test_speech_errors(client: AsyncOpenAI):
    for options, param, part in [
        ({"response_format": "mp3"}, "response_format", "'wav'"),
        ({"voice": "alois"}, "voice", "alloy"),
        ({"model": "espaek"}, "model", "espeak"),
        ({"speed": 9}, "speed", "4.0"),
        ({"input": " "}, "input", "empty"),
        ({"input": "..."}, "input", "spoken"),
    ]:
        with pytest.raises(APIStatusError) as error:
            await client.audio.speech.create(**{"model": "tts-1", "voice": "alloy", "input": "Hello.", **options})
        assert error.value.param == param and part in error.value.message, error.value


async def test_client_secret(client: AsyncOpenAI, url: str):
    secret = await client.realtime.client_secrets.create(
        expires_after={"anchor": "created_at", "seconds": 60},
        session={"type": "realtime", "output_modalities": ["text"], "instructions": "You are a helpful assistant."},
    )
    assert secret.value.startswith("ek_")
    assert secret.session.type == "realtime" and secret.session.instructions == "You are a helpful assistant."
    browser = AsyncOpenAI(base_url=f"{url}/v1", api_key=secret.value)
    async with browser.realtime.connect(model="gpt-realtime") as connection:
        talk = Talk(connection)
        session = (await talk.until("session.created"))["session"]
        assert session["output_modalities"] == ["text"]
        await talk.write("Hello.")
        assert words(await asyncio.wait_for(talk.answer(), 30))
        rules.check_connection(talk.frames)
    with pytest.raises(APIStatusError) as refused:
        await browser.models.list()
    assert refused.value.status_code == 401
    assert client.api_key == KEY
