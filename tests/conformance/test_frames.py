"""The checker itself: what would break a client must not pass it. Needs no server."""

from __future__ import annotations

import copy
import json

import frames as rules
import pytest

ITEM = {"type": "message", "id": "item_1", "object": "realtime.item", "status": "completed", "role": "user"}
GOOD = [
    {"type": "conversation.item.done", "event_id": "e", "previous_item_id": None, "item": {**ITEM, "content": []}},
    {
        "type": "response.content_part.done",
        "event_id": "e",
        "response_id": "r",
        "item_id": "i",
        "output_index": 0,
        "content_index": 0,
        "part": {"type": "audio", "transcript": "Hello."},
    },
    {
        "type": "conversation.item.input_audio_transcription.completed",
        "event_id": "e",
        "item_id": "i",
        "content_index": 0,
        "transcript": "Hello.",
        "usage": {"type": "duration", "seconds": 1},
    },
]
BAD = {
    "no event_id": (0, ["event_id"], ...),
    "a type that OpenAI does not know": (0, ["type"], "conversation.item.finished"),
    "an event of the beta": (0, ["type"], "conversation.item.created"),
    "null for what is to be absent": (0, ["item", "status"], None),
    "speech without a transcript key": (0, ["item", "content"], [{"type": "input_audio"}]),
    "a role that OpenAI does not know": (0, ["item", "role"], "nobody"),
    "null in a part": (1, ["part", "transcript"], None),
    "text where an index belongs": (1, ["output_index"], "first"),
    "a transcript without usage": (2, ["usage"], ...),
}


@pytest.mark.parametrize("frame", GOOD, ids=[frame["type"] for frame in GOOD])
def test_good_frames_pass(frame):
    assert rules.validate(json.dumps(frame)) == frame


@pytest.mark.parametrize(("index", "path", "value"), BAD.values(), ids=BAD.keys())
def test_bad_frames_are_found(index, path, value):
    frame = copy.deepcopy(GOOD[index])
    at = frame
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    with pytest.raises((AssertionError, ValueError)):  # pydantic's error is a ValueError
        rules.validate(json.dumps(frame))


def _done(response: str) -> dict:
    return {"type": "response.done", "event_id": f"done_{response}", "response": {"id": response}}


def _created(response: str) -> dict:
    return {"type": "response.created", "event_id": f"created_{response}", "response": {"id": response}}


START = {"type": "session.created", "event_id": "e0"}
CONNECTIONS = {
    "an id twice": [START, START],
    "not opened": [_created("r")],
    "done twice": [START, _created("r"), _done("r"), {**_done("r"), "event_id": "again"}],
    "done without a beginning": [START, _done("r")],
    "audio after the end": [
        START,
        _created("r"),
        _done("r"),
        {"type": "response.output_audio.delta", "event_id": "e", "response_id": "r", "item_id": "i", "content_index": 0},
    ],
    "behind an item that nobody knows": [
        START,
        {"type": "conversation.item.added", "event_id": "e", "previous_item_id": "x", "item": {"id": "i"}},
    ],
    "stopped, never started": [START, {"type": "input_audio_buffer.speech_stopped", "event_id": "e", "item_id": "i"}],
}


@pytest.mark.parametrize("log", CONNECTIONS.values(), ids=CONNECTIONS.keys())
def test_bad_connections_are_found(log):
    with pytest.raises(AssertionError):
        rules.check_connection(log)


def test_a_whole_connection_passes():
    rules.check_connection([START, _created("r"), _done("r")])
    assert [len(part) for part in rules.connections([START, _created("r"), START])] == [2, 1]
