// Streaming sample-rate conversion for the two audio worklets: a windowed-sinc polyphase filter.
// Knows nothing of the Web Audio API, so that it can be tested under Node.

const PASSBAND = 0.94; // share of the lower Nyquist rate that passes; the rest is the filter's slope

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

// Blackman-Harris window, t in [-1, 1].
function windowAt(t) {
  const x = Math.PI * (t + 1);
  return 0.35875 - 0.48829 * Math.cos(x) + 0.14128 * Math.cos(2 * x) - 0.01168 * Math.cos(3 * x);
}

function sinc(t) {
  return t === 0 ? 1 : Math.sin(Math.PI * t) / (Math.PI * t);
}

// One filter a phase; each is scaled to pass a constant unchanged.
function filterBank(phases, half, cutoff) {
  return Array.from({ length: phases }, (_, phase) => {
    const row = new Float32Array(2 * half);
    let sum = 0;
    for (let tap = 0; tap < row.length; tap += 1) {
      const t = tap - (half - 1) - phase / phases;
      row[tap] = Math.abs(t) < half ? sinc(cutoff * t) * windowAt(t / half) : 0;
      sum += row[tap];
    }
    return row.map((value) => value / sum);
  });
}

export class Resampler {
  /** @param {number} inputRate Hz @param {number} outputRate Hz @param {number} crossings filter length */
  constructor(inputRate, outputRate, crossings = 16) {
    const divisor = greatestCommonDivisor(inputRate, outputRate);
    const cutoff = Math.min(1, outputRate / inputRate) * PASSBAND;
    this.phases = outputRate / divisor;
    this.step = inputRate / divisor;
    this.half = Math.ceil(crossings / cutoff);
    this.bank = filterBank(this.phases, this.half, cutoff);
    this.reset();
  }

  /** Forgets all audio, as at the start. */
  reset() {
    this.tail = new Float32Array(this.half - 1);
    this.index = this.half - 1; // of the sample under the filter's centre, in `tail` and what follows it
    this.phase = 0;
  }

  /** The samples that `input` completes; the last few wait for what comes next. */
  process(input) {
    const data = new Float32Array(this.tail.length + input.length);
    data.set(this.tail);
    data.set(input, this.tail.length);
    const output = new Float32Array(Math.ceil(((data.length + 1) * this.phases) / this.step));
    let count = 0;
    while (this.index + this.half < data.length) {
      output[count] = this.filterAt(data);
      count += 1;
      this.phase += this.step;
      this.index += Math.floor(this.phase / this.phases);
      this.phase %= this.phases;
    }
    const keep = Math.min(this.index - this.half + 1, data.length);
    this.tail = data.slice(keep);
    this.index -= keep;
    return output.subarray(0, count);
  }

  filterAt(data) {
    const row = this.bank[this.phase];
    const start = this.index - this.half + 1;
    let sum = 0;
    for (let tap = 0; tap < row.length; tap += 1) {
      sum += data[start + tap] * row[tap];
    }
    return sum;
  }

  /** What still waits, as if silence followed; then forgets all audio. */
  flush() {
    const rest = this.process(new Float32Array(this.half));
    this.reset();
    return rest;
  }
}
