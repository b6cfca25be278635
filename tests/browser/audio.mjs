// The page's audio code without a browser: conversion of sample rates, and the player's bookkeeping, on which
// exact truncation rests.

import assert from "node:assert/strict";
import { cpSync, writeFileSync } from "node:fs";
import { test } from "node:test";

const ASSETS = new URL("../../assets/", import.meta.url).pathname;
const COPY = new URL("../../target/browser/assets/", import.meta.url).pathname;
const RATE = 48000; // of the pretended audio device

// Node takes a folder for ES modules only if a package.json says so.
cpSync(ASSETS, COPY, { recursive: true });
writeFileSync(`${COPY}package.json`, '{"type":"module"}');
let loads = 0;

/** The module, run anew. */
function load(name) {
  loads += 1;
  return import(`${COPY}${name}?${loads}`);
}

function tone(hertz, rate, seconds) {
  return Float32Array.from({ length: seconds * rate }, (_, n) => 0.5 * Math.sin((2 * Math.PI * hertz * n) / rate));
}

function rms(samples) {
  return Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);
}

function converted(resampler, samples, chunk = 128) {
  const out = [];
  for (let at = 0; at < samples.length; at += chunk) {
    out.push(...resampler.process(samples.subarray(at, at + chunk)));
  }
  return Float32Array.from([...out, ...resampler.flush()]);
}

test("sample-rate conversion keeps speech and drops what does not fit", async () => {
  const { Resampler } = await load("resampler.js");
  for (const [from, to] of [[48000, 24000], [44100, 24000], [24000, 48000], [24000, 44100], [24000, 24000]]) {
    const heard = converted(new Resampler(from, to), tone(1000, from, 0.5));
    assert.ok(Math.abs(heard.length - to / 2) < 40, `${from} to ${to}: ${heard.length} samples`);
    const middle = heard.subarray(to / 10, (4 * to) / 10);
    const wanted = tone(1000, to, 0.5).subarray(to / 10, (4 * to) / 10);
    // The filter's centre is aligned, so the tone comes out where it went in.
    const error = rms(middle.map((value, n) => value - wanted[n])) / rms(wanted);
    assert.ok(error < 0.003, `${from} to ${to}: error ${error}`);
  }
  const alias = converted(new Resampler(48000, 24000), tone(15000, 48000, 0.5));
  assert.ok(rms(alias.subarray(2000, 10000)) < 0.0005, "15 kHz came through at 24 kHz");
});

class Pretend {
  static async player() {
    const self = new Pretend();
    globalThis.sampleRate = RATE;
    globalThis.AudioWorkletProcessor = class {
      constructor() {
        this.port = { postMessage: (message) => self.reports.push(message) };
      }
    };
    globalThis.registerProcessor = (_name, Processor) => {
      self.processor = new Processor();
    };
    await load("player-worklet.js");
    return self;
  }

  constructor() {
    this.reports = [];
  }

  send(message) {
    this.processor.port.onmessage({ data: message });
  }

  audio(item, seconds) {
    this.send({ type: "audio", item, samples: tone(440, 24000, seconds) });
  }

  /** Runs the device for so long; gives what came out. */
  run(seconds) {
    const out = [];
    for (let done = 0; done < seconds * RATE; done += 128) {
      const quantum = new Float32Array(128);
      this.processor.process([], [[quantum]]);
      out.push(...quantum);
    }
    return out;
  }

  last(type) {
    return this.reports.findLast((report) => report.type === type);
  }
}

test("the player waits for a little audio, plays it all, and says so", async () => {
  const player = await Pretend.player();
  player.audio("a", 0.05);
  assert.equal(rms(player.run(0.02)), 0, "began before its buffer was full");
  player.audio("a", 0.15);
  player.send({ type: "end", item: "a" });
  assert.ok(rms(player.run(0.25)) > 0.2);
  assert.ok(Math.abs(player.last("finished").played - 0.2) < 0.002);
  assert.equal(player.processor.underruns, 0);
});

test("the player stops at once and knows what was heard", async () => {
  const player = await Pretend.player();
  player.audio("a", 1);
  player.run(0.4);
  player.send({ type: "clear", id: 7 });
  const cleared = player.last("cleared");
  assert.deepEqual([cleared.id, cleared.item, cleared.cut], [7, "a", true]);
  assert.ok(Math.abs(cleared.played - 0.4) < 0.003, `${cleared.played}`);
  const after = player.run(0.1);
  assert.ok(after.slice(128).every((value) => value === 0), "sound after the fade");
  player.audio("b", 0.2);
  player.run(0.05);
  assert.equal(player.last("started").item, "b");
});

test("the player buffers more after it ran dry", async () => {
  const player = await Pretend.player();
  const before = player.processor.target;
  player.audio("a", 0.1);
  player.run(0.2);
  assert.equal(player.processor.underruns, 1);
  assert.ok(player.processor.target > before);
  player.audio("a", 0.3);
  player.send({ type: "end", item: "a" });
  player.run(0.4);
  assert.ok(Math.abs(player.last("finished").played - 0.4) < 0.003, "the gap was counted as played");
});
