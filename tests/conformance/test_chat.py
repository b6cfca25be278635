"""`client.chat.completions.create` of the official SDK: whole and streamed answers, tools, refusals.

Each answer and each chunk is validated by the SDK's own types, which the SDK itself does not do.
"""

from __future__ import annotations

import asyncio
import json

import httpx2 as http
import pytest
from openai import APIError, APIStatusError, AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

_WHOLE = TypeAdapter(ChatCompletion)
_CHUNK = TypeAdapter(ChatCompletionChunk)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
BRIEF = {"role": "system", "content": "Be brief."}


def user(text: str) -> dict:
    return {"role": "user", "content": text}


async def whole(client: AsyncOpenAI, messages: list, **options: object) -> ChatCompletion:
    """An answer that came whole."""
    answer = await client.chat.completions.create(**{"model": "antiphon", "messages": messages, **options})
    return _WHOLE.validate_python(answer.to_dict())


async def streamed(client: AsyncOpenAI, messages: list, **options: object) -> list[ChatCompletionChunk]:
    """The chunks of an answer."""
    stream = await client.chat.completions.create(
        **{"model": "antiphon", "messages": messages, "stream": True, **options}
    )
    chunks = [_CHUNK.validate_python(chunk.to_dict()) async for chunk in stream]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    return chunks


def text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_an_answer_of_a_conversation(client: AsyncOpenAI):
    said = [BRIEF, user("My name is Clara."), {"role": "assistant", "content": "Hello, Clara."}, user("What is my name?")]
    answer = await whole(client, said, temperature=0.0, seed=7, user="clara")
    choice = answer.choices[0]
    assert "clara" in choice.message.content.lower()
    assert (choice.finish_reason, choice.message.role, answer.object) == ("stop", "assistant", "chat.completion")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 10
    chunks = await streamed(client, said)
    assert text(chunks) == choice.message.content, "the same question has the same answer"
    assert chunks[-1].choices[0].finish_reason == "stop" and all(chunk.usage is None for chunk in chunks)


async def test_the_stream_tells_what_it_took(client: AsyncOpenAI):
    chunks = await streamed(client, [user("Hello.")], stream_options={"include_usage": True})
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    cut = await streamed(client, [user("Tell me a story.")], max_completion_tokens=5)
    assert cut[-1].choices[0].finish_reason == "length" and text(cut)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called_and_its_result_is_told(client: AsyncOpenAI, stream: bool):
    asked = [BRIEF, user("What is the weather in Paris?")]
    if stream:
        chunks = await streamed(client, asked, tools=[WEATHER])
        deltas = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
        assert len(deltas) > 1 and {delta.index for delta in deltas} == {0}, "the arguments come in pieces"
        assert chunks[-1].choices[0].finish_reason == "tool_calls" and not text(chunks)
        call = {"id": deltas[0].id, "name": deltas[0].function.name}
        arguments = "".join(delta.function.arguments or "" for delta in deltas)
    else:
        choice = (await whole(client, asked, tools=[WEATHER])).choices[0]
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        call = {"id": choice.message.tool_calls[0].id, "name": choice.message.tool_calls[0].function.name}
        arguments = choice.message.tool_calls[0].function.arguments
    assert call["name"] == "get_weather" and json.loads(arguments) == {"city": "Paris"}
    called = {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": arguments}}
    asked += [
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": call["id"], "content": '{"weather": "sunny", "temperature": 21}'},
    ]
    answer = (await whole(client, asked, tools=[WEATHER])).choices[0].message.content
    assert "sunny" in answer and "Paris" in answer
    none = await whole(client, asked[:2], tools=[WEATHER], tool_choice="none")
    assert not none.choices[0].message.tool_calls and none.choices[0].message.content


def test_the_blocking_client_with_the_stream_helper(sync_client: OpenAI):
    with sync_client.chat.completions.stream(model="gpt-4o", messages=[user("Good morning.")]) as stream:
        kinds = {event.type for event in stream}
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert stream.get_final_completion().choices[0].message.content


async def test_what_is_refused(client: AsyncOpenAI):
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}
    many = [user("What is the weather in Paris? " * 2_000)]
    for messages, options, status, code, param in [
        ([user("Hi.")], {"model": "lama"}, 404, "model_not_found", "model"),
        ([image], {}, 400, "invalid_value", "messages"),
        ([user("Hi.")], {"stop": ["\n"]}, 400, "unsupported_parameter", "stop"),
        ([user("Hi.")], {"response_format": {"type": "json_object"}}, 400, "unsupported_parameter", "response_format"),
        ([user("Hi.")], {"n": 2}, 400, "unsupported_parameter", "n"),
        ([], {}, 400, "invalid_value", "messages"),
        (many, {}, 400, "context_length_exceeded", "messages"),
        (many, {"stream": True}, 400, "context_length_exceeded", "messages"),
    ]:
        with pytest.raises(APIStatusError) as refused:
            await client.chat.completions.create(**{"model": "antiphon", "messages": messages, **options})
        error = refused.value
        assert (error.status_code, error.code, error.param) == (status, code, param), error.message
        assert isinstance(error, APIError) and error.type == "invalid_request_error"


async def test_a_client_that_hangs_up_is_cancelled(client: AsyncOpenAI, url: str):
    async with http.AsyncClient() as raw:

        async def requests(status: str) -> int:
            seen = (await raw.get(f"{url}/api/requests")).json()["requests"]
            return sum(r["kind"] == "completion" and r["status"] == status for r in seen)

        before = await requests("CANCELLED")
        stream = await client.chat.completions.create(model="antiphon", messages=[user("Tell me a story.")], stream=True)
        await anext(aiter(stream))
        await stream.close()
        async with asyncio.timeout(20):
            while await requests("CANCELLED") == before:
                await asyncio.sleep(0.05)
