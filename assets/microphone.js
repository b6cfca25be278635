// The user's side of the audio: opens the microphone, hands out 20 ms chunks of 24 kHz PCM16, and can speak a
// recording in its place. Knows nothing of the server.

const CONSTRAINTS = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
};

/** Why there is no microphone: a `kind` that the page turns into a next step. */
export class MicrophoneError extends Error {
  constructor(kind, cause) {
    super(`microphone: ${kind}`, { cause });
    this.kind = kind;
  }
}

const KINDS = {
  NotAllowedError: "refused",
  SecurityError: "refused",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

export class Microphone {
  /** @param {(chunk: {pcm: ArrayBuffer, level: number, injected: boolean}) => void} onChunk */
  static async create(context, onChunk) {
    await context.audioWorklet.addModule("/assets/microphone-worklet.js");
    return new Microphone(context, onChunk);
  }

  constructor(context, onChunk) {
    this.context = context;
    this.stream = null;
    this.waiting = new Map(); // id of injected speech → resolve
    this.nextId = 1;
    this.node = new AudioWorkletNode(context, "microphone", { numberOfInputs: 1, numberOfOutputs: 1 });
    this.node.connect(context.destination); // silent; a node without a way out is not run
    this.node.port.onmessage = ({ data }) => {
      if (data.type === "chunk") {
        onChunk(data);
      } else {
        this.waiting.get(data.id)?.(true);
        this.waiting.delete(data.id);
      }
    };
  }

  get isOpen() {
    return this.stream !== null;
  }

  /** Asks for the microphone. Throws `MicrophoneError`. */
  async open() {
    if (!window.isSecureContext || !navigator.mediaDevices) {
      throw new MicrophoneError("insecure");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
    } catch (error) {
      throw new MicrophoneError(KINDS[error.name] ?? "failed", error);
    }
    this.source = this.context.createMediaStreamSource(this.stream);
    this.source.connect(this.node);
  }

  close() {
    this.source?.disconnect();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.source = null;
  }

  mute(muted) {
    this.node.port.postMessage({ type: "mute", muted });
  }

  /** Speaks 24 kHz samples in the microphone's place; true when all was said, false when dropped. */
  inject(samples) {
    const id = this.nextId;
    this.nextId += 1;
    this.node.port.postMessage({ type: "inject", id, samples }, [samples.buffer]);
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
    });
  }

  dropInjected() {
    this.node.port.postMessage({ type: "drop" });
    this.waiting.forEach((resolve) => resolve(false));
    this.waiting.clear();
  }
}
