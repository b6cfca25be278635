"""Pipecat's `OpenAIRealtimeLLMService` with `base_url` changed, in a pipeline whose transport is this test.

Any `error` event that the service does not expect ends its session, so none may come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import speech
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMRunFrame,
    TTSAudioRawFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
from pipecat.workers.runner import WorkerRunner
from record import DEADLINE

WEATHER = FunctionSchema(
    name="get_weather",
    description="Get the weather of a city.",
    properties={"city": {"type": "string"}},
    required=["city"],
)


class Loudspeaker(FrameProcessor):
    """Stands where the transport's output stands: keeps the audio, notes the frames that an application acts on."""

    def __init__(self) -> None:
        super().__init__()
        self.pcm = b""
        self.frames: list[type[Frame]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Notes the frame and passes it on."""
        await super().process_frame(frame, direction)
        self.frames.append(type(frame))
        if isinstance(frame, TTSAudioRawFrame):
            self.pcm += frame.audio
        await self.push_frame(frame, direction)


class Bot:
    """A running pipeline."""

    def __init__(self, worker: PipelineWorker, context: LLMContext, pair: LLMContextAggregatorPair, speaker: Loudspeaker) -> None:
        self.worker = worker
        self.context = context
        self.speaker = speaker
        self._news = asyncio.Event()

        async def note(*_: object) -> None:
            self._news.set()

        pair.user().add_event_handler("on_user_turn_message_added", note)
        pair.assistant().add_event_handler("on_assistant_turn_stopped", note)

    async def speak(self, pcm: bytes) -> None:
        """Audio at the pace of speech."""
        async for piece in speech.paced(pcm):
            await self.worker.queue_frame(InputAudioRawFrame(audio=piece, sample_rate=speech.RATE, num_channels=1))

    async def remembers(self, role: str, words: str) -> None:
        """Waits until a message of this role in the pipeline's own context holds the words."""
        async with asyncio.timeout(DEADLINE):
            while not any(words in self._text(message) for message in self.context.get_messages() if message.get("role") == role):
                await self._news.wait()
                self._news.clear()

    @staticmethod
    def _text(message: dict) -> str:
        content = message.get("content") or ""
        return (content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)).lower()


@pytest.fixture
def run(url, record, monkeypatch):
    """Runs a pipeline that begins with a user's message; every frame of the server is recorded."""
    parse = events.parse_server_event
    monkeypatch.setattr(events, "parse_server_event", lambda data: (record.take(data), parse(data))[1])

    @asynccontextmanager
    async def open_bot(first: str, functions: dict | None = None, turns: object = None) -> AsyncIterator[Bot]:
        audio = events.AudioInput(transcription=events.InputAudioTranscription(), turn_detection=turns)
        properties = events.SessionProperties(audio=events.AudioConfiguration(input=audio))
        llm = OpenAIRealtimeLLMService(
            api_key="unused-on-loopback",
            base_url=url.replace("http", "ws", 1) + "/v1/realtime",
            settings=OpenAIRealtimeLLMService.Settings(session_properties=properties),
        )
        tools = ToolsSchema(standard_tools=[WEATHER])
        messages = [{"role": "user", "content": first}]
        context = LLMContext(messages, tools) if functions else LLMContext(messages)
        for name, function in (functions or {}).items():
            llm.register_function(name, function)
        # What the service recommends by itself a moment later; the default until then would load a local turn model.
        pair = LLMContextAggregatorPair(
            context, user_params=LLMUserAggregatorParams(user_turn_strategies=ExternalUserTurnStrategies())
        )
        speaker = Loudspeaker()
        pipeline = Pipeline([pair.user(), llm, speaker, pair.assistant()])
        worker = PipelineWorker(pipeline, enable_rtvi=False, cancel_on_idle_timeout=False)
        worker.add_event_handler("on_pipeline_error", _problem(record))
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        running = asyncio.create_task(runner.run())
        bot = Bot(worker, context, pair, speaker)
        try:
            await worker.queue_frame(LLMRunFrame())
            yield bot
        finally:
            await worker.cancel()
            await running

    return open_bot


def _problem(record):
    async def note(_worker, frame) -> None:
        record.problems.append(f"pipeline error: {frame}")

    return note


async def test_written_then_spoken_turn(run, record):
    async with run("My name is Clara.") as bot:
        assert "clara" in (await record.completed()).lower()
        assert speech.loudness(bot.speaker.pcm) > 0.005
        pcm = speech.silence(0.3) + speech.spoken("What is my name?") + speech.silence(1.5)
        _, answer = await asyncio.gather(bot.speak(pcm), record.completed())
        assert "clara" in answer.lower()
        await bot.remembers("user", "what is my name")
        await bot.remembers("assistant", "your name is clara")
        assert {UserStartedSpeakingFrame, UserStoppedSpeakingFrame, TTSAudioRawFrame} <= set(bot.speaker.frames)


async def test_tool_call(run, record):
    asked: list[dict] = []

    async def get_weather(params: FunctionCallParams) -> None:
        asked.append(dict(params.arguments))
        await params.result_callback({"weather": "sunny", "temperature": 21})

    async with run("What is the weather in Paris?", functions={"get_weather": get_weather}) as bot:
        await record.completed()
        answer = await record.completed()  # the pipeline sends the result and asks on by itself
        assert asked == [{"city": "Paris"}]
        assert "sunny" in answer and "Paris" in answer, answer
        await bot.remembers("assistant", "sunny")


async def test_barge_in_truncates_to_what_was_heard(run, record):
    async with run("Tell me a story.") as bot:
        item = (await record.until("response.output_audio.delta"))["item_id"]
        pcm = speech.silence(0.2) + speech.spoken("What is my name?") + speech.silence(1.5)
        speaking = asyncio.create_task(bot.speak(pcm))
        cut = (await record.until("response.done"))["response"]
        assert (cut["status"], cut["status_details"]["reason"]) == ("cancelled", "turn_detected")
        truncated = await record.until("conversation.item.truncated")
        assert truncated["item_id"] == item
        assert 0 < truncated["audio_end_ms"] <= len(bot.speaker.pcm) * 1000 // (2 * speech.RATE)
        await record.completed()
        await speaking
        assert InterruptionFrame in bot.speaker.frames


async def test_interruption_by_the_application(run, record):
    """The service only truncates what it plays; that must be enough to stop the answer."""
    async with run("Tell me a story.") as bot:
        item = (await record.until("response.output_audio.delta"))["item_id"]
        await bot.worker.queue_frame(InterruptionFrame())
        cut = (await record.until("response.done"))["response"]
        assert (cut["status"], cut["status_details"]["reason"]) == ("cancelled", "client_cancelled")
        assert (await record.until("conversation.item.truncated"))["item_id"] == item
        pcm = speech.silence(0.3) + speech.spoken("What is my name?") + speech.silence(1.5)
        _, answer = await asyncio.gather(bot.speak(pcm), record.completed())
        assert answer


async def test_turns_found_by_the_pipeline(run, record):
    """Without server turns the pipeline says when speech starts (clear, cancel) and stops (commit, response.create)."""
    record.expected_errors.add("response_cancel_not_active")  # the service cancels whether or not an answer runs
    async with run("My name is Clara.", turns=False) as bot:
        await record.completed()
        await bot.speak(speech.spoken("My name is Peter."))
        await bot.worker.queue_frame(InterruptionFrame())
        await record.until("input_audio_buffer.cleared")
        await bot.speak(speech.spoken("What is my name?") + speech.silence(0.2))
        await bot.worker.queue_frame(UserStoppedSpeakingFrame())
        answer = (await record.completed()).lower()
        assert "clara" in answer and "peter" not in answer, answer
