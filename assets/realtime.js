// A client of GET /v1/realtime: one WebSocket, JSON events both ways, reconnecting with back-off.
// Knows nothing of audio or of the page.

const BACK_OFF = [500, 1000, 2000, 4000, 8000, 15000]; // ms
const FINAL_CODES = new Set([1008, 1009]); // policy, too big: trying again would end the same way

export function toBase64(buffer) {
  const bytes = new Uint8Array(buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

/**
 * Dispatches `state` ({state, retryIn, code, reason}) with state closed | connecting | open | waiting, and
 * `server` (the event as the server sent it). A client event sent while not open is dropped.
 */
export class RealtimeClient extends EventTarget {
  constructor(url) {
    super();
    this.url = url;
    this.state = "closed";
    this.attempt = 0;
    this.resumeToken = null;
    this.socket = null;
    this.timer = 0;
  }

  connect() {
    if (this.state === "connecting" || this.state === "open") {
      return;
    }
    clearTimeout(this.timer);
    this.setState("connecting");
    const url = new URL(this.url);
    const resuming = this.resumeToken !== null;
    if (resuming) {
      url.searchParams.set("resume", this.resumeToken);
    }
    const socket = new WebSocket(url, ["realtime"]);
    this.socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
    };
    socket.onmessage = ({ data }) => this.socket === socket && this.onMessage(data);
    socket.onclose = async ({ code, reason }) => {
      if (resuming && !opened && (await this.serverAnswers())) {
        this.resumeToken = null; // it is there, and no longer has that session
      }
      if (this.socket === socket) {
        this.onClose(code, reason);
      }
    };
  }

  /** Tells a server that refuses from one that cannot be reached: a browser does not show why a socket failed. */
  async serverAnswers() {
    try {
      return (await fetch("/readyz")).ok;
    } catch {
      return false;
    }
  }

  /** Ends the session; nothing is tried again. */
  close() {
    clearTimeout(this.timer);
    const { socket } = this;
    this.socket = null;
    this.resumeToken = null;
    this.attempt = 0;
    socket?.close(1000);
    this.setState("closed");
  }

  /** Resolves when the session is open; rejects when it closed for good. */
  async opened() {
    this.connect();
    while (this.state !== "open") {
      if (this.state === "closed") {
        throw new Error("the connection was closed");
      }
      await new Promise((resolve) => {
        this.addEventListener("state", resolve, { once: true });
      });
    }
  }

  send(event) {
    if (this.state === "open") {
      this.socket.send(JSON.stringify(event));
    }
  }

  sendAudio(buffer) {
    this.send({ type: "input_audio_buffer.append", audio: toBase64(buffer) });
  }

  onMessage(data) {
    const event = JSON.parse(data);
    if (event.type === "session.created") {
      this.attempt = 0;
      this.resumeToken = event.session.antiphon?.resume_token ?? null;
      this.setState("open");
      if (event.session.antiphon?.left_off?.awaits_response) {
        this.send({ type: "response.create" }); // the question came through, its answer did not
      }
    }
    this.dispatchEvent(new CustomEvent("server", { detail: event }));
  }

  onClose(code, reason) {
    this.socket = null;
    if (FINAL_CODES.has(code)) {
      this.setState("closed", { code, reason });
      return;
    }
    const step = BACK_OFF[Math.min(this.attempt, BACK_OFF.length - 1)];
    const retryIn = Math.round(step * (0.75 + Math.random() / 2)); // spread, so that all users do not come at once
    this.attempt += 1;
    this.setState("waiting", { retryIn, code, reason });
    this.timer = setTimeout(() => this.connect(), retryIn);
  }

  setState(state, detail = {}) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, ...detail } }));
  }
}
