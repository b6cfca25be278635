// Runs on the audio thread: what the page sends as the user's voice, in chunks of 20 ms at 24 kHz PCM16.
// The source is the microphone or, while there is any, injected speech. It ticks on without either, so that
// it is the one clock of the input.

import { Resampler } from "./resampler.js";

const RATE = 24000;
const CHUNK = 480; // samples: 20 ms

class MicrophoneProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE);
    this.silence = new Float32Array(128);
    this.muted = false;
    this.injected = []; // [{ id, samples, offset }]
    this.startChunk();
    this.port.onmessage = ({ data }) => this.onMessage(data);
  }

  onMessage(message) {
    if (message.type === "mute") {
      this.muted = message.muted;
    } else if (message.type === "inject") {
      this.injected.push({ id: message.id, samples: message.samples, offset: 0 });
    } else if (message.type === "drop") {
      this.injected = [];
    }
  }

  startChunk() {
    this.chunk = new Int16Array(CHUNK);
    this.filled = 0;
    this.energy = 0;
    this.hasInjected = false;
  }

  process([input]) {
    for (const sample of this.resampler.process(this.mono(input))) {
      this.put(this.nextInjected() ?? (this.muted ? 0 : sample));
    }
    return true;
  }

  mono(channels) {
    if (channels.length === 0) {
      return this.silence;
    }
    if (channels.length === 1) {
      return channels[0];
    }
    const [left, right] = channels;
    return left.map((value, index) => (value + right[index]) / 2);
  }

  nextInjected() {
    const first = this.injected[0];
    if (first === undefined) {
      return null;
    }
    this.hasInjected = true;
    const sample = first.samples[first.offset];
    first.offset += 1;
    if (first.offset >= first.samples.length) {
      this.injected.shift();
      this.port.postMessage({ type: "injected", id: first.id });
    }
    return sample;
  }

  put(sample) {
    const clipped = Math.max(-1, Math.min(1, sample));
    this.chunk[this.filled] = Math.round(clipped * 32767);
    this.filled += 1;
    this.energy += clipped * clipped;
    if (this.filled === CHUNK) {
      const level = Math.sqrt(this.energy / CHUNK);
      const message = { type: "chunk", pcm: this.chunk.buffer, level, injected: this.hasInjected };
      this.port.postMessage(message, [this.chunk.buffer]);
      this.startChunk();
    }
  }
}

registerProcessor("microphone", MicrophoneProcessor);
