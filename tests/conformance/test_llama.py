"""Antiphon in front of a real OpenAI-compatible server that others made: llama.cpp's, as the package xllamacpp has it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as http
import pytest
from conftest import KEY, Talk
from openai import AsyncOpenAI

HERE = Path(__file__).parent
DEADLINE = 60  # seconds: a model is loaded, on a busy machine


@contextmanager
def program(*command: str) -> Iterator[str]:
    """Runs it until its standard input is closed; gives the line that it prints."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            line = running.stdout.readline().strip()
            assert line.startswith("http"), f"{command[0]} did not start: {line}"
            yield line
        finally:
            running.stdin.close()
            running.wait(DEADLINE)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Iterator[str]:
    """The address of llama.cpp's server."""
    with program(sys.executable, str(HERE / "llama.py"), str(tmp_path_factory.mktemp("llama"))) as address:
        yield address


@pytest.fixture(scope="module")
def front(llama: str) -> Iterator[str]:
    """The address of an Antiphon whose language model is llama.cpp's."""
    extra = "extra={ignore_eos=true}"  # it would end anywhere
    model = f'engines.llm=[{{kind="openai", name="llama", url="{llama}/v1", model="random", {extra}}}]'
    script = HERE.parent.parent / "scripts/with-server"
    with program(str(script), "--set", model, "--", "sh", "-c", 'echo "$ANTIPHON_URL"; cat >/dev/null') as address:
        yield address


@pytest.fixture
async def talk(front: str):
    client = AsyncOpenAI(base_url=f"{front}/v1", api_key=KEY)
    async with client.realtime.connect(model="antiphon") as connection:
        talk = Talk(connection)
        await talk.until("session.created")
        yield talk


async def slots(llama: str) -> list[dict]:
    async with http.AsyncClient() as raw:
        return (await raw.get(f"{llama}/slots")).json()


async def test_a_turn_is_streamed_and_its_tokens_are_told(talk: Talk):
    await talk.update(output_modalities=["text"], max_output_tokens=24)
    await talk.write("Hello.")
    response = await talk.answer()
    assert (response["status"], response["status_details"].get("reason")) == ("incomplete", "max_output_tokens")
    deltas = [frame["delta"] for frame in talk.frames if frame["type"] == "response.output_text.delta"]
    assert len(deltas) > 5 and "".join(deltas) == response["output"][0]["content"][0]["text"]
    assert response["usage"]["output_tokens"] == 24 and response["usage"]["input_tokens"] > 5
    await talk.write("And again.")
    assert (await talk.answer())["usage"]["input_tokens"] > response["usage"]["input_tokens"], "it reads the talk so far"


async def test_a_cancelled_answer_ends_the_work_there(talk: Talk, llama: str):
    await talk.text_only()
    await talk.write("Tell me a story.")
    await talk.connection.response.create()
    await talk.until("response.output_text.delta")
    assert any(slot["is_processing"] for slot in await slots(llama)), "it writes for seconds"
    await talk.connection.response.cancel()
    response = (await talk.until("response.done"))["response"]
    assert response["status"] == "cancelled"
    async with asyncio.timeout(5):  # the whole answer takes longer
        while any(slot["is_processing"] for slot in await slots(llama)):
            await asyncio.sleep(0.02)


async def test_chat_completions_are_passed_through(front: str):
    client = AsyncOpenAI(base_url=f"{front}/v1", api_key=KEY)
    messages = [{"role": "user", "content": "Hello."}]
    answer = await client.chat.completions.create(model="llama", messages=messages, max_tokens=8)
    assert answer.choices[0].message.content and answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 8
