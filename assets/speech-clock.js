// When did the user stop speaking? The server learns it only after a silence, so the page keeps the loudness of
// the last seconds and looks back.

const KEEP = 4000; // ms
const QUIETEST_SPEECH = 0.004; // RMS
const SHARE_OF_PEAK = 0.15;

export class SpeechClock {
  constructor() {
    this.history = []; // [{ at, level }]
  }

  record(level, at = performance.now()) {
    this.history.push({ at, level });
    while (this.history[0].at < at - KEEP) {
      this.history.shift();
    }
  }

  /** The time of the last loud chunk; null when there was none. */
  speechEnd() {
    const peak = Math.max(0, ...this.history.map((chunk) => chunk.level));
    const least = Math.max(QUIETEST_SPEECH, peak * SHARE_OF_PEAK);
    return this.history.findLast((chunk) => chunk.level >= least)?.at ?? null;
  }
}
