// Runs on the audio thread: plays the answers. It waits until a little is buffered, waits longer when the
// network proved rougher than that, stops within 3 ms when told to, and counts what was played of each item.

import { Resampler } from "./resampler.js";

const RATE = 24000;
const START_BUFFER = 0.08; // seconds
const MOST_BUFFER = 0.5;
const GROWTH = 1.5; // of the buffer, at each underrun
const REPORT_EVERY = 0.04; // seconds

class PlayerProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(RATE, sampleRate);
    this.target = START_BUFFER * sampleRate;
    this.underruns = 0;
    this.forget();
    this.startReport();
    this.port.onmessage = ({ data }) => this.onMessage(data);
  }

  forget() {
    this.queue = []; // [{ item, samples, offset }]; samples null: the item ends here
    this.buffered = 0;
    this.playing = false;
    this.current = null; // { item, played }
    this.resampler.reset();
  }

  onMessage(message) {
    if (message.type === "audio") {
      this.push(message.item, this.resampler.process(message.samples));
    } else if (message.type === "end") {
      this.push(message.item, this.resampler.flush());
      this.queue.push({ item: message.item, samples: null, offset: 0 });
    } else if (message.type === "clear") {
      this.clear(message.id);
    }
  }

  push(item, samples) {
    if (samples.length > 0) {
      this.queue.push({ item, samples: samples.slice(), offset: 0 });
      this.buffered += samples.length;
    }
  }

  clear(id) {
    const { item = null, played = 0 } = this.current ?? {};
    const fade = this.playing ? this.takeFade() : null;
    const waiting = this.queue.find((entry) => entry.samples !== null)?.item ?? null;
    this.port.postMessage({ type: "cleared", id, item: item ?? waiting, played: played / sampleRate, cut: waiting !== null });
    this.forget();
    this.fade = fade;
  }

  // The next instant, going to silence: a hard stop would click.
  takeFade() {
    const entry = this.queue[0];
    if (!entry?.samples) {
      return null;
    }
    const piece = entry.samples.slice(entry.offset, entry.offset + 128);
    return piece.map((value, index) => value * (1 - index / piece.length));
  }

  process(_inputs, [[output]]) {
    if (this.fade) {
      output.set(this.fade);
      this.fade = null;
    } else if (this.mayPlay()) {
      this.fill(output);
    }
    this.report(output);
    return true;
  }

  mayPlay() {
    const ends = this.queue.some((entry) => entry.samples === null);
    this.playing ||= this.buffered >= this.target || ends;
    return this.playing && this.queue.length > 0;
  }

  fill(output) {
    let filled = 0;
    while (filled < output.length && this.queue.length > 0) {
      const entry = this.queue[0];
      if (entry.samples === null) {
        this.finish(entry.item);
      } else {
        filled += this.copy(entry, output, filled);
      }
    }
    if (this.queue.length === 0) {
      this.starve();
    }
  }

  copy(entry, output, at) {
    this.begin(entry.item);
    const count = Math.min(output.length - at, entry.samples.length - entry.offset);
    output.set(entry.samples.subarray(entry.offset, entry.offset + count), at);
    entry.offset += count;
    this.buffered -= count;
    this.current.played += count;
    if (entry.offset === entry.samples.length) {
      this.queue.shift();
    }
    return count;
  }

  begin(item) {
    if (this.current?.item !== item) {
      this.current = { item, played: 0 };
      this.port.postMessage({ type: "started", item });
    }
  }

  finish(item) {
    this.queue.shift();
    const played = this.current?.item === item ? this.current.played : 0;
    this.port.postMessage({ type: "finished", item, played: played / sampleRate });
    this.current = null;
  }

  // Nothing left: in the middle of an item that is an underrun, after its end it is just silence.
  starve() {
    this.playing = false;
    if (this.current !== null) {
      this.underruns += 1;
      this.target = Math.min(this.target * GROWTH, MOST_BUFFER * sampleRate);
    }
  }

  startReport() {
    this.reported = 0;
    this.energy = 0;
  }

  report(output) {
    for (const value of output) {
      this.energy += value * value;
    }
    this.reported += output.length;
    if (this.reported >= REPORT_EVERY * sampleRate) {
      const { item = null, played = 0 } = this.current ?? {};
      const level = Math.sqrt(this.energy / this.reported);
      this.port.postMessage({ type: "progress", item, played: played / sampleRate, level, underruns: this.underruns });
      this.startReport();
    }
  }
}

registerProcessor("player", PlayerProcessor);
