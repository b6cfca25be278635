"""What must hold of every frame that the server sends, and of the frames of one connection together.

`validate` looks at one frame, as strictly as the official Agents SDK does. `check_connection` looks at a whole
log and holds the rules that break known clients.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator

from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

MAX_FRAME = 1 << 20  # the `websockets` library refuses larger messages by default
_EVENTS = TypeAdapter(RealtimeServerEvent)
_ABSENT_NOT_NULL = {"id", "call_id", "name", "arguments", "role", "status"}  # in items; Agents JS refuses null
_DELTAS = ("response.output_audio.delta", "response.output_audio_transcript.delta", "response.output_text.delta")


def validate(data: bytes | str) -> dict:
    """The frame as a dictionary; raises where the SDK's model of it does not fit."""
    assert len(data) < MAX_FRAME, f"a frame of {len(data)} bytes"
    frame = json.loads(data)
    assert frame.get("event_id"), f"no event_id in {frame}"
    assert frame["type"] != "conversation.item.created", "an event of the beta protocol"
    event = _EVENTS.validate_python(frame)
    assert event.type == frame["type"]
    for item in _items(frame):
        _check_item(item)
    if "part" in frame:
        assert None not in frame["part"].values(), f"null in a part: {frame['part']}"
    if frame["type"] in ("session.created", "session.updated"):
        _check_session(frame["session"])
    if frame["type"] == "response.done":
        _check_done(frame["response"])
    return frame


def _items(frame: dict) -> Iterator[dict]:
    if "item" in frame:
        yield frame["item"]
    yield from frame.get("response", {}).get("output", [])


def _check_item(item: dict) -> None:
    nulls = [key for key in _ABSENT_NOT_NULL if key in item and item[key] is None]
    assert not nulls, f"null {nulls} in item {item}"
    for part in item.get("content", []):
        if part["type"] == "input_audio":
            assert "transcript" in part, "Agents JS throws on input_audio without a transcript key"


def _check_session(session: dict) -> None:
    turns = session["audio"]["input"].get("turn_detection")
    if session["type"] == "realtime" and turns is not None:
        assert {"create_response", "interrupt_response"} <= turns.keys(), "Agents SDKs read both"


def _check_done(response: dict) -> None:
    assert "status_details" in response
    assert response["status"] != "in_progress"
    assert response["usage"]["total_tokens"] >= 0, "Pipecat reads usage in full, also of a cancelled response"


def of_type(frames: Iterable[dict], kind: str) -> list[dict]:
    """The frames of one type."""
    return [frame for frame in frames if frame["type"] == kind]


def types(frames: Iterable[dict], *, without: tuple[str, ...] = ()) -> list[str]:
    """The types in their order, repeats of one type in a row counted once."""
    out: list[str] = []
    for frame in frames:
        if frame["type"] not in without and (not out or out[-1] != frame["type"]):
            out.append(frame["type"])
    return out


def words(response: dict) -> str:
    """What a response says, spoken or written."""
    parts = [part for item in response["output"] for part in item.get("content", [])]
    return " ".join(part.get("transcript") or part.get("text") or "" for part in parts)


def brief(frames: list[dict]) -> str:
    """Frames as the lines of a log; runs of audio are one line, the session is left out."""
    lines: list[str] = []
    for kind, run in itertools.groupby(frames, key=lambda frame: frame["type"]):
        if kind == "response.output_audio.delta":
            lines.append(f"{kind} x {len(list(run))}")
        else:
            lines += [f"{kind} {_brief(frame)}" for frame in run]
    return "\n".join(lines)


def _brief(frame: dict) -> str:
    return json.dumps({key: value for key, value in frame.items() if key not in ("type", "event_id", "session")})[:400]


def connections(frames: list[dict]) -> list[list[dict]]:
    """The frames of each connection, where a client connected more than once."""
    starts = [index for index, frame in enumerate(frames) if frame["type"] == "session.created"]
    assert starts[:1] == [0][: len(frames)], "the first frame is not session.created"
    return [frames[start:end] for start, end in zip(starts, [*starts[1:], len(frames)], strict=True)]


def check_connection(frames: list[dict]) -> None:
    """Rules over a whole connection."""
    ids = [frame["event_id"] for frame in frames]
    assert len(ids) == len(set(ids)), "event ids repeat"
    assert frames[0]["type"] == "session.created"
    _check_responses(frames)
    _check_utterances(frames)
    _check_items_known(frames)


def _check_responses(frames: list[dict]) -> None:
    """Each response is done exactly once, and nothing of it comes after that or before it was created."""
    created, done = set(), set()
    for frame in frames:
        kind = frame["type"]
        if kind == "response.created":
            created.add(frame["response"]["id"])
        elif kind == "response.done":
            assert frame["response"]["id"] not in done, "done twice"
            done.add(frame["response"]["id"])
        elif "response_id" in frame:
            assert frame["response_id"] in created - done, f"{kind} outside its response"
    assert done <= created


def _check_utterances(frames: list[dict]) -> None:
    """The user's item has one id from the start of speech to its transcript."""
    started = [f["item_id"] for f in of_type(frames, "input_audio_buffer.speech_started")]
    stopped = [f["item_id"] for f in of_type(frames, "input_audio_buffer.speech_stopped")]
    committed = {f["item_id"] for f in of_type(frames, "input_audio_buffer.committed")}
    assert stopped == started[: len(stopped)]
    assert set(stopped[:-1]) <= committed, "speech that ended was not committed"
    for frame in of_type(frames, "conversation.item.input_audio_transcription.completed"):
        assert frame["item_id"] in committed


def _check_items_known(frames: list[dict]) -> None:
    """Items and parts are announced before their deltas, and chained to an item that exists."""
    items, parts = set(), set()
    for frame in frames:
        kind = frame["type"]
        if kind in ("conversation.item.added", "response.output_item.added"):
            items.add(frame["item"]["id"])
            previous = frame.get("previous_item_id")
            assert previous is None or previous in items, f"previous item {previous} is unknown"
        elif kind == "response.content_part.added":
            assert frame["item_id"] in items
            parts.add((frame["item_id"], frame["content_index"]))
        elif kind in _DELTAS:
            assert (frame["item_id"], frame["content_index"]) in parts, f"{kind} before its part"
