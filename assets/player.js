// The server's side of the audio: plays PCM16 at 24 kHz item by item and says what was heard of each.

export class Player extends EventTarget {
  static async create(context) {
    await context.audioWorklet.addModule("/assets/player-worklet.js");
    return new Player(context);
  }

  constructor(context) {
    super();
    this.context = context;
    this.item = null; // being played
    this.received = new Map(); // item → seconds received
    this.stats = { playedSeconds: 0, peakLevel: 0, underruns: 0 };
    this.clearing = new Map();
    this.nextId = 1;
    this.node = new AudioWorkletNode(context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
    this.node.connect(context.destination);
    this.node.port.onmessage = ({ data }) => this.onReport(data);
  }

  /** Queues audio of an item. @param {Int16Array} pcm */
  append(item, pcm) {
    const samples = Float32Array.from(pcm, (value) => value / 32768);
    this.received.set(item, this.receivedSeconds(item) + samples.length / 24000);
    this.node.port.postMessage({ type: "audio", item, samples }, [samples.buffer]);
  }

  /** No more audio of this item will come. */
  end(item) {
    this.node.port.postMessage({ type: "end", item });
  }

  receivedSeconds(item) {
    return this.received.get(item) ?? 0;
  }

  /** Silence at once. Says which item was cut and how much of it was heard. */
  clear() {
    const id = this.nextId;
    this.nextId += 1;
    this.node.port.postMessage({ type: "clear", id });
    return new Promise((resolve) => {
      this.clearing.set(id, resolve);
    });
  }

  // What left the worklet is heard only after the device's own buffer.
  heard(played) {
    return Math.max(0, played - (this.context.outputLatency ?? 0));
  }

  onReport(report) {
    if (report.type === "cleared") {
      this.item = null;
      this.clearing.get(report.id)?.({ item: report.item, heard: this.heard(report.played), cut: report.cut });
      this.clearing.delete(report.id);
      return;
    }
    if (report.type === "started") {
      this.item = report.item;
    } else if (report.type === "finished") {
      this.item = null;
      this.received.delete(report.item);
      this.stats.playedSeconds += report.played;
    } else {
      this.stats.underruns = report.underruns;
      this.stats.peakLevel = Math.max(this.stats.peakLevel, report.level);
    }
    const heard = this.heard(report.played ?? 0);
    this.dispatchEvent(new CustomEvent(report.type, { detail: { ...report, heard } }));
  }
}
