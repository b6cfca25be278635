// What the server's events mean for player and transcript, and what the page answers to them. Interruption is
// decided here. Knows nothing of buttons.

import { fromBase64 } from "./realtime.js";
import { SpeechClock } from "./speech-clock.js";

// Requests that the page makes by itself; when one fails, the user need not know.
const QUIET = "page_";

/** Dispatches `latency` ({milliseconds, timings}), `timings`, `problem` ({message}), `session` (the session). */
export class Conversation extends EventTarget {
  constructor(client, transcript) {
    super();
    this.client = client;
    this.transcript = transcript;
    this.player = null;
    this.clock = new SpeechClock();
    this.reset();
    this.sessionId = null;
    this.requests = 0;
    client.addEventListener("server", ({ detail }) => this.handle(detail));
  }

  reset() {
    this.active = new Set(); // ids of responses that are being made
    this.dropped = new Set(); // ids of those that were interrupted: what still comes of them is not played
    this.askedAt = null; // when the user finished asking
  }

  attach(player) {
    this.player = player;
    player.addEventListener("started", ({ detail }) => this.onHeard(detail));
    player.addEventListener("progress", ({ detail }) => this.reveal(detail.item, detail.heard));
    player.addEventListener("finished", ({ detail }) => this.transcript.find(detail.item)?.finish?.());
  }

  // --- what the user does ---

  async say(text) {
    await this.interrupt(true);
    this.askedAt = performance.now();
    const item = { type: "message", role: "user", content: [{ type: "input_text", text }] };
    this.client.send({ type: "conversation.item.create", item });
    this.client.send({ type: "response.create" });
  }

  /** Push-to-talk: the button goes down. */
  async beginUtterance() {
    await this.interrupt(true);
    this.client.send({ type: "input_audio_buffer.clear" });
  }

  /** Push-to-talk: the button comes up. */
  endUtterance() {
    this.askedAt = this.clock.speechEnd() ?? performance.now();
    this.client.send({ type: "input_audio_buffer.commit" });
    this.client.send({ type: "response.create" });
  }

  sendAudio(pcm, level) {
    this.clock.record(level);
    this.client.sendAudio(pcm);
  }

  /** Stops what is being said, and tells the server how much of it was heard. */
  async interrupt(cancel) {
    const wasActive = this.active.size > 0;
    this.active.forEach((id) => this.dropped.add(id));
    if (cancel && wasActive) {
      this.sendQuietly({ type: "response.cancel" });
    }
    const { item, heard, cut } = await this.player.clear();
    if (item !== null && (cut || wasActive)) {
      this.transcript.find(item)?.cut?.(heard);
      const audio_end_ms = Math.floor(heard * 1000);
      this.sendQuietly({ type: "conversation.item.truncate", item_id: item, content_index: 0, audio_end_ms });
    }
  }

  sendQuietly(event) {
    this.requests += 1;
    this.client.send({ event_id: `${QUIET}${this.requests}`, ...event });
  }

  // --- what the server says ---

  handle(event) {
    HANDLERS[event.type]?.call(this, event);
  }

  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  onSession({ session }) {
    if (this.sessionId !== null && this.sessionId !== session.id) {
      this.reset();
      this.transcript.divide("A new conversation: what stands above is forgotten.");
    }
    this.sessionId = session.id;
    this.emit("session", session);
  }

  onSpeechStarted({ item_id: item }) {
    this.interrupt(false);
    this.transcript.user(item);
  }

  onSpeechStopped() {
    this.askedAt = this.clock.speechEnd();
  }

  onItemAdded({ item }) {
    if (item.type !== "message" || item.role !== "user") {
      return;
    }
    const turn = this.transcript.user(item.id);
    const text = item.content.find((part) => part.type === "input_text")?.text;
    if (text !== undefined) {
      turn.finish(text);
    }
  }

  onResponseCreated({ response }) {
    this.active.add(response.id);
  }

  onOutputItem({ response_id: response, item }) {
    if (item.type === "message" && !this.dropped.has(response)) {
      this.transcript.assistant(item.id);
    }
  }

  onAudio({ response_id: response, item_id: item, delta }) {
    if (!this.dropped.has(response)) {
      this.player.append(item, new Int16Array(fromBase64(delta)));
    }
  }

  onAudioDone({ response_id: response, item_id: item }) {
    if (!this.dropped.has(response)) {
      this.player.end(item);
    }
  }

  onSpokenText({ response_id: response, item_id: item, delta, start_time: start }) {
    if (!this.dropped.has(response)) {
      this.transcript.assistant(item).addText(delta, start ?? this.player.receivedSeconds(item));
    }
  }

  onWrittenText({ response_id: response, item_id: item, delta }) {
    if (!this.dropped.has(response)) {
      const turn = this.transcript.assistant(item);
      turn.addText(delta, 0);
      turn.reveal(Infinity);
    }
  }

  // The server has cut its own record; the page shows what is in it.
  onTruncated({ item_id: item }) {
    this.sendQuietly({ type: "conversation.item.retrieve", item_id: item });
  }

  onRetrieved({ item }) {
    const text = item.content?.[0]?.transcript;
    if (typeof text === "string") {
      this.transcript.find(item.id)?.correct?.(text);
    }
  }

  onResponseDone({ response }) {
    this.active.delete(response.id);
    const cancelled = this.dropped.delete(response.id) || response.status === "cancelled";
    for (const item of response.output) {
      this.settle(item.id, cancelled);
    }
    if (response.status === "failed") {
      const message = response.status_details?.error?.message ?? "no reason was given";
      this.emit("problem", { message: `The answer failed: ${message}` });
    }
    const timings = response.antiphon?.timings_ms;
    if (timings) {
      this.emit("timings", timings);
    }
  }

  // A response ended; lines of which nothing is or will be heard must not stay open.
  settle(id, cancelled) {
    const turn = this.transcript.find(id);
    if (turn === null || this.player.item === id) {
      return;
    }
    if (cancelled && turn.words.textContent === "") {
      this.transcript.remove(id);
    } else if (cancelled) {
      turn.cut?.(0);
    } else if (this.player.receivedSeconds(id) === 0) {
      turn.finish?.();
    }
  }

  onTranscriptDelta({ item_id: item, delta }) {
    this.transcript.user(item).addPartial(delta);
    this.transcript.follow();
  }

  onTranscript({ item_id: item, transcript = "" }) {
    this.transcript.user(item).finish(transcript);
    this.transcript.follow();
  }

  onError({ error }) {
    if (error.event_id?.startsWith(QUIET)) {
      console.debug("antiphon:", error.message);
    } else {
      this.emit("problem", { message: error.message });
    }
  }

  // --- what the player says ---

  onHeard({ item }) {
    if (this.askedAt !== null && this.transcript.find(item) !== null) {
      this.emit("latency", { milliseconds: performance.now() - this.askedAt });
      this.askedAt = null;
    }
  }

  reveal(item, heard) {
    if (item !== null) {
      this.transcript.find(item)?.reveal?.(heard);
      this.transcript.follow();
    }
  }
}

const on = Conversation.prototype;
const HANDLERS = {
  "session.created": on.onSession,
  "input_audio_buffer.speech_started": on.onSpeechStarted,
  "input_audio_buffer.speech_stopped": on.onSpeechStopped,
  "conversation.item.added": on.onItemAdded,
  "conversation.item.truncated": on.onTruncated,
  "conversation.item.retrieved": on.onRetrieved,
  "conversation.item.input_audio_transcription.delta": on.onTranscriptDelta,
  "conversation.item.input_audio_transcription.completed": on.onTranscript,
  "conversation.item.input_audio_transcription.failed": on.onTranscript,
  "response.created": on.onResponseCreated,
  "response.output_item.added": on.onOutputItem,
  "response.output_audio.delta": on.onAudio,
  "response.output_audio.done": on.onAudioDone,
  "response.output_audio_transcript.delta": on.onSpokenText,
  "response.output_text.delta": on.onWrittenText,
  "response.done": on.onResponseDone,
  error: on.onError,
};
