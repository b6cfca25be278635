"""Beside the socket: handshake, function calls, the HTTP endpoints that the SDK knows."""

from __future__ import annotations

import json

import pytest
import speech
from frames import words
from websockets.asyncio.client import connect as raw_connect

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.mark.parametrize(
    ("offered", "answered"),
    [(None, None), (["realtime"], "realtime"), (["realtime", "openai-insecure-api-key.k"], "realtime")],
)
async def test_subprotocol(url, offered, answered):
    address = url.replace("http", "ws", 1) + "/v1/realtime?model=x"
    async with raw_connect(address, subprotocols=offered) as socket:
        assert socket.subprotocol == answered
        assert json.loads(await socket.recv())["type"] == "session.created"


async def test_function_call(connect):
    async with connect() as talk:
        await talk.update(output_modalities=["text"], tools=[WEATHER], tool_choice="auto")
        await talk.write("What is the weather in Paris?")
        response = await talk.answer()
        call = next(item for item in response["output"] if item["type"] == "function_call")
        assert call["status"] == "completed"
        assert call["name"] == "get_weather"
        assert json.loads(call["arguments"]) == {"city": "Paris"}
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"weather": "sunny", "temperature": 21}'}
        await talk.connection.conversation.item.create(item=result)
        await talk.until("conversation.item.done")
        answer = words(await talk.answer())
        assert "sunny" in answer and "Paris" in answer, answer


async def test_speech_endpoint(client):
    pcm = await client.audio.speech.create(model="antiphon", voice="alloy", input="Good morning.", response_format="pcm")
    assert speech.loudness(pcm.content) > 0.005
    wav = await client.audio.speech.create(model="antiphon", voice="alloy", input="Good morning.", response_format="wav")
    assert wav.content[:4] == b"RIFF"
    assert wav.content[24:28] == speech.RATE.to_bytes(4, "little")
