// What the server sent: waited for by type, and written down for the checker of `../frames.py`, which looks at every
// frame when the tests are over.

import assert from "node:assert/strict";
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const KEY = "unused-on-loopback";
export const HTTPS = needed("ANTIPHON_HTTPS_URL");
const FRAMES = needed("CONFORMANCE_FRAMES"); // folder: NAME.jsonl, one frame a line
const SPEECH = needed("CONFORMANCE_SPEECH"); // folder: NAME.pcm, 24 kHz mono
const DEADLINE = 45_000; // ms for any one event: real models on a busy machine
const PIECE = 960; // bytes in 20 ms

function needed(name) {
  assert.ok(process.env[name], `${name} is not set; run this through tests/conformance/test_node.py`);
  return process.env[name];
}

export class Record {
  frames = [];
  #seen = 0;
  #wake = () => {};

  constructor(name) {
    this.file = join(FRAMES, `${name}.jsonl`);
  }

  /** Notes a frame: the text as it came, or the object that a client made of it. */
  take(data) {
    const text = typeof data === "object" && data !== null && !Buffer.isBuffer(data) ? JSON.stringify(data) : String(data);
    appendFileSync(this.file, `${text}\n`);
    this.frames.push(JSON.parse(text));
    this.#wake();
  }

  /** The next frame of this type, after the one that the last call gave. */
  async until(type) {
    const end = Date.now() + DEADLINE;
    for (;;) {
      while (this.#seen < this.frames.length) {
        const frame = this.frames[this.#seen++];
        if (frame.type === type) return frame;
        assert.ok(frame.type !== "error", `waiting for ${type}: ${JSON.stringify(frame.error)}`);
      }
      const left = end - Date.now();
      assert.ok(left > 0, `no ${type} in ${DEADLINE} ms; came: ${this.frames.map((frame) => frame.type).join(" ")}`);
      let timer;
      await new Promise((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
    }
  }

  /** The words of the next response, which must be whole. */
  async completed() {
    const { response } = await this.until("response.done");
    assert.equal(response.status, "completed", JSON.stringify(response.status_details));
    return words(response);
  }

  ofType(type) {
    return this.frames.filter((frame) => frame.type === type);
  }
}

/** What a response says, spoken or written. */
export function words(response) {
  const parts = response.output.flatMap((item) => item.content ?? []);
  return parts.map((part) => part.transcript ?? part.text ?? "").join(" ");
}

/** A sentence as PCM with a moment of silence around it. */
export function spoken(name, { before = 0.3, after = 1.5 } = {}) {
  const silence = (seconds) => Buffer.alloc(2 * Math.round(24_000 * seconds));
  return Buffer.concat([silence(before), readFileSync(join(SPEECH, `${name}.pcm`)), silence(after)]);
}

/** Gives `send` pieces of 20 ms at the pace of speech. */
export async function speak(pcm, send) {
  const start = performance.now();
  for (let at = 0; at < pcm.length; at += PIECE) {
    const early = start + (at / PIECE) * 20 - performance.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    send(pcm.subarray(at, at + PIECE));
  }
}
