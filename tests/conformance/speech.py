"""Spoken test input: espeak-ng says it, this module brings it to the protocol's 24 kHz PCM16."""

from __future__ import annotations

import array
import asyncio
import audioop  # of the standard library before Python 3.13, of audioop-lts since
import functools
import subprocess
from collections.abc import AsyncIterator

RATE = 24_000
TELEPHONE_RATE = 8_000
CHUNK = RATE // 50 * 2  # bytes in 20 ms


@functools.cache
def spoken(text: str, voice: str = "en-us") -> bytes:
    """The sentence as 24 kHz mono PCM16."""
    command = ["espeak-ng", "-v", voice, "-s", "160", "--stdout", text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    start = wav.index(b"data") + 8  # the length there is not filled in when writing to a pipe
    samples = array.array("h", wav[start : start + (len(wav) - start) // 2 * 2])
    return _resample(samples, int.from_bytes(wav[24:28], "little")).tobytes()


def _resample(samples: array.array, rate: int) -> array.array:
    """Linear interpolation: enough for input that the server brings down to 16 kHz anyway."""
    step = rate / RATE
    out = array.array("h")
    for index in range(int((len(samples) - 1) / step)):
        position = index * step
        left = int(position)
        share = position - left
        out.append(round(samples[left] * (1 - share) + samples[left + 1] * share))
    return out


def silence(seconds: float) -> bytes:
    """Digital silence."""
    return bytes(2 * round(seconds * RATE))


def chunks(pcm: bytes) -> list[bytes]:
    """Pieces of 20 ms."""
    return [pcm[at : at + CHUNK] for at in range(0, len(pcm), CHUNK)]


async def paced(pcm: bytes) -> AsyncIterator[bytes]:
    """Pieces of 20 ms at the pace of speech."""
    clock = asyncio.get_running_loop().time
    start = clock()
    for index, piece in enumerate(chunks(pcm)):
        await asyncio.sleep(max(0.0, start + index * 0.02 - clock()))
        yield piece


def telephone(pcm: bytes, law: str) -> bytes:
    """24 kHz PCM16 as G.711: `pcmu` or `pcma`, 8 kHz."""
    samples = array.array("h", pcm)
    thirds = array.array("h", (sum(samples[at : at + 3]) // 3 for at in range(0, len(samples) - 2, 3)))
    return {"pcmu": audioop.lin2ulaw, "pcma": audioop.lin2alaw}[law](thirds.tobytes(), 2)


def from_telephone(coded: bytes, law: str) -> bytes:
    """G.711 as PCM16, still 8 kHz."""
    return {"pcmu": audioop.ulaw2lin, "pcma": audioop.alaw2lin}[law](coded, 2)


def loudness(pcm: bytes) -> float:
    """Root mean square, 0 to 1."""
    samples = array.array("h", pcm)
    return (sum(s * s for s in samples) / max(1, len(samples))) ** 0.5 / 32768
