"""Example tools: how they may be declared, when they are called, what is said of the result.

The names and parameters vary, so that the language model learns to read the
declaration instead of knowing one tool by heart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import lexicon as lex
import smalltalk as talk

WEATHER_NAMES = ["get_weather", "weather", "current_weather", "lookup_weather", "get_forecast"]
CITY_PARAMS = ["city", "location", "place"]
TIMER_NAMES = ["set_timer", "start_timer", "timer", "create_timer", "set_alarm"]
MINUTE_PARAMS = ["minutes", "duration", "duration_minutes"]
CLOCK_NAMES = ["get_time", "current_time", "clock", "get_current_time"]
_ABOUT = {
    "weather": ["Get the weather of a city.", "Current weather for a location", "Looks up the weather"],
    "timer": ["Set a timer.", "Start a timer for some minutes", "Starts a countdown"],
    "clock": ["Get the current time.", "Tells the time of day", "Current local time"],
}
REFUSALS = {
    "weather": "I am sorry, I cannot check the weather here.",
    "timer": "I am sorry, I cannot set timers here.",
    "clock": "I am sorry, I cannot see a clock here.",
}
FAILED = "I am sorry, that did not work."
ERRORS = ['{"error": "not found"}', '{"error": "timeout"}', "error", '{"ok": false}', "failed",
          '{"status": "failed"}', '{"error": "unknown"}']


@dataclass
class Request:
    """What a user wants, the call that fits the declared tools (or none), and the answer."""

    user: str
    answer: str
    expect: list[list[str]]
    call: dict | None = None
    result: str | None = None


def _function(kind: str, rng: random.Random, name: str, param: str | None, ptype: str) -> dict:
    properties = {param: {"type": ptype}} if param else {}
    if param and rng.random() < 0.3:
        properties[param]["description"] = rng.choice(["The city", "City name", "How long", "A value"])
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {
        "name": name, "description": rng.choice(_ABOUT[kind]), "parameters": schema}}


def declare(rng: random.Random) -> list[dict]:
    """One to three tools in the form of an OpenAI `tools` list."""
    all_tools = [
        _function("weather", rng, rng.choice(WEATHER_NAMES), rng.choice(CITY_PARAMS), "string"),
        _function("timer", rng, rng.choice(TIMER_NAMES), rng.choice(MINUTE_PARAMS), "integer"),
        _function("clock", rng, rng.choice(CLOCK_NAMES), None, ""),
    ]
    rng.shuffle(all_tools)
    return all_tools[: rng.choice([1, 1, 2, 3])]


def _kind_of(tool: dict) -> str:
    name = tool["function"]["name"]
    if name in WEATHER_NAMES:
        return "weather"
    return "timer" if name in TIMER_NAMES else "clock"


def request(rng: random.Random, tools: list[dict]) -> Request:
    """A request; three in four are for a declared tool, where there is one."""
    declared = {_kind_of(t): t["function"] for t in tools}
    kind = rng.choice(list(declared)) if declared and rng.random() < 0.75 else rng.choice(list(REFUSALS))
    made = {"weather": _weather, "timer": _timer, "clock": _clock}[kind](rng, declared.get(kind))
    if kind not in declared:
        made.answer, made.expect, made.call, made.result = REFUSALS[kind], [["cannot"]], None, None
    elif rng.random() < 0.08:
        made.answer, made.expect, made.result = FAILED, [["not work"]], rng.choice(ERRORS)
    return made


def _call(function: dict | None, value: object) -> dict | None:
    if function is None:
        return None
    params = list(function["parameters"]["properties"])
    return {"name": function["name"], "arguments": {params[0]: value} if params else {}}


def _weather(rng: random.Random, function: dict | None) -> Request:
    city, sky = rng.choice(lex.CITIES), rng.choice(lex.WEATHER)
    degrees = rng.randint(1, 35)
    user = rng.choice(talk.WEATHER_QUESTIONS).replace("{city}", city)
    result = rng.choice([f'{{"weather": "{sky}", "temperature": {degrees}}}',
                         f'{{"city": "{city}", "weather": "{sky}", "temperature": {degrees}}}',
                         f'{{"temperature": {degrees}, "condition": "{sky}"}}'])
    return Request(user, f"It is {sky} in {city}, with {degrees} degrees.", [[sky], [city], [str(degrees)]],
                   _call(function, city), result)


def _timer(rng: random.Random, function: dict | None) -> Request:
    minutes = rng.choice([rng.randint(2, 20), rng.randint(2, 60)])
    spoken = lex.spelled(minutes)
    user = rng.choice(talk.TIMER_REQUESTS).replace("{n}", spoken)
    result = rng.choice(['{"ok": true}', '{"status": "started"}', "done", "ok"])
    return Request(user, f"Okay, your timer for {spoken} minutes is running.", [[spoken]],
                   _call(function, minutes), result)


def _clock(rng: random.Random, function: dict | None) -> Request:
    time = f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}"
    user = rng.choice(talk.CLOCK_QUESTIONS)
    result = rng.choice([f'{{"time": "{time}"}}', time, f'{{"hour_minute": "{time}"}}'])
    return Request(user, f"It is {time} now.", [[time]], _call(function, None), result)
