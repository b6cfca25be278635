// The page: buttons, status and problems. Audio, protocol and conversation live in modules of their own.

import { Conversation } from "./conversation.js";
import { Microphone, MicrophoneError } from "./microphone.js";
import { Player } from "./player.js";
import { RealtimeClient } from "./realtime.js";
import { Staff } from "./staff.js";
import { synthesise } from "./synthesise.js";
import { Transcript } from "./transcript.js";
import { addVoices } from "./voices.js";

const SILENCE_AFTER_SPEECH = 3000; // ms sent after spoken-for-me speech, so that the server notices its end
const EXAMPLES = ["My name is Anna.", "What is my name?", "I live in Oslo.", "Where do I live?", "Tell me a story."];
const MORE_EXAMPLES = [
  "The code word is lantern.",
  "What is the code word?",
  "My favourite food is pasta.",
  "What is my favourite food?",
  "I play the piano.",
  "Which instrument do I play?",
  "Count to ten.",
  "What can you do?",
];
const MICROPHONE_HELP = {
  refused: "The browser keeps the microphone from this page. Allow it in the site settings beside the address, then press Start again. Typing works without.",
  missing: "No microphone was found. Plug one in and press Start again, or type, or have a sentence spoken for you.",
  busy: "Another program holds the microphone. Close it there and press Start again.",
  insecure: "Browsers give the microphone only to https:// pages and to localhost. Open the page by one of these; typing works here too.",
  failed: "The microphone could not be opened. Press Start to try again.",
};
const CONNECTION = { closed: "Not connected", connecting: "Connecting", open: "Connected", waiting: "Server away" };

const $ = (id) => document.getElementById(id);

class App {
  constructor() {
    this.transcript = new Transcript($("transcript"), $("scroller"), () => {
      $("welcome").hidden = true;
    });
    this.client = new RealtimeClient(new URL("/v1/realtime", location.href.replace(/^http/, "ws")));
    this.conversation = new Conversation(this.client, this.transcript);
    this.staff = new Staff($("staff"));
    this.context = null;
    this.listening = false;
    this.muted = false;
    this.held = false;
    this.silenceUntil = 0;
    this.session = null; // as the server opened it
    this.listen();
    this.wire();
    this.showExamples();
  }

  get holdMode() {
    return $("mode").value === "hold";
  }

  // --- starting and stopping ---

  // Audio may only begin with a click, so all of it is made at the first one.
  async prepare() {
    this.ready ??= this.makeAudio();
    await this.ready;
    await this.context.resume();
    this.staff.start();
    await this.client.opened();
  }

  async makeAudio() {
    this.context = new AudioContext({ latencyHint: "interactive" });
    this.player = await Player.create(this.context);
    this.microphone = await Microphone.create(this.context, (chunk) => this.onChunk(chunk));
    this.conversation.attach(this.player);
    this.player.addEventListener("progress", ({ detail }) => this.staff.level("assistant", detail.level));
    this.player.addEventListener("started", () => this.lockVoice(true));
  }

  async start() {
    this.clearProblem();
    this.setListening(true);
    try {
      await this.prepare();
      await this.microphone.open();
      if (this.holdMode) {
        $("hold").focus(); // so that Space does not press Stop
      }
    } catch (error) {
      if (this.listening) { // else it was stopped, or the end was told already
        this.problem(error instanceof MicrophoneError ? MICROPHONE_HELP[error.kind] : error.message);
        this.setListening(false);
      }
    }
  }

  stop() {
    this.microphone?.close();
    this.microphone?.dropInjected();
    this.player?.clear();
    this.client.close();
    this.staff.stop();
    this.setListening(false);
  }

  setListening(listening) {
    this.listening = listening;
    $("start").textContent = listening ? "Stop" : "Start";
    $("start").setAttribute("aria-pressed", String(listening));
    $("mute").disabled = !listening;
    this.showMode();
  }

  // --- the user's voice ---

  onChunk({ pcm, level, injected }) {
    const shown = this.listening || injected ? level : 0;
    $("level").hidden = !(this.listening || injected);
    $("level").style.setProperty("--level", Math.min(1, shown * 5).toFixed(2));
    $("level").setAttribute("aria-valuenow", String(Math.min(100, Math.round(shown * 500))));
    if (this.isSending(injected)) {
      this.staff.level("user", level);
      this.conversation.sendAudio(pcm, level);
    }
  }

  isSending(injected) {
    if (this.client.state !== "open") {
      return false;
    }
    if (this.holdMode) {
      return injected || (this.held && this.microphone.isOpen);
    }
    return injected || this.microphone.isOpen || performance.now() < this.silenceUntil;
  }

  async hold() {
    if (this.held || !this.listening || this.client.state !== "open") {
      return;
    }
    this.held = true;
    $("hold").classList.add("active");
    await this.conversation.beginUtterance();
  }

  release() {
    if (this.held) {
      this.held = false;
      $("hold").classList.remove("active");
      this.conversation.endUtterance();
    }
  }

  setMuted(muted) {
    this.muted = muted;
    this.microphone?.mute(muted);
    $("mute").textContent = muted ? "Unmute" : "Mute";
    $("mute").setAttribute("aria-pressed", String(muted));
  }

  /** For machines without a microphone: the server's own voice says the sentence in the user's place. */
  async speakForMe(text) {
    this.clearProblem();
    try {
      const [samples] = await Promise.all([synthesise(text), this.prepare()]);
      this.playAloud(samples);
      await this.sendSpeech(samples);
    } catch (error) {
      this.problem(`The sentence could not be spoken: ${error.message}. Send it as text instead.`);
    }
  }

  async sendSpeech(samples) {
    if (this.holdMode) {
      await this.conversation.beginUtterance();
    }
    const said = await this.microphone.inject(samples);
    this.silenceUntil = performance.now() + SILENCE_AFTER_SPEECH;
    if (said && this.holdMode) {
      this.conversation.endUtterance();
    }
  }

  playAloud(samples) {
    const buffer = this.context.createBuffer(1, samples.length, 24000);
    buffer.copyToChannel(samples, 0);
    const gain = new GainNode(this.context, { gain: 0.5 });
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(gain).connect(this.context.destination);
    source.start();
  }

  async say(text) {
    this.clearProblem();
    await this.prepare();
    await this.conversation.say(text);
  }

  // --- session settings ---

  onSession(session) {
    this.session = session;
    this.configure();
  }

  /** Asks for what this page needs and the server does not do by itself. */
  configure() {
    if (this.session === null) {
      return;
    }
    const { transcription, turn_detection: turns } = this.session.audio.input;
    const input = { transcription: transcription ?? { model: "default" }, turn_detection: this.holdMode ? null : turns };
    const voice = $("voice").value || this.session.audio.output.voice;
    const audio = $("voice").disabled ? { input } : { input, output: { voice } };
    this.client.send({ type: "session.update", session: { type: "realtime", audio } });
  }

  // The protocol fixes the voice of a session with its first word.
  lockVoice(locked) {
    $("voice").disabled = locked;
    $("voice").title = locked ? "The voice of a conversation is fixed once it has spoken. Stop to choose another." : "";
  }

  // --- what is shown ---

  onState({ state, retryIn, code, reason }) {
    if (state !== "open") {
      this.session = null;
      this.lockVoice(false);
    }
    $("connection").dataset.state = state;
    const seconds = Math.max(1, Math.round((retryIn ?? 0) / 1000));
    const more = state === "waiting" ? `, trying again in ${seconds} s` : "";
    $("connection").querySelector(".text").textContent = CONNECTION[state] + more;
    if (state === "waiting") {
      const why = code === 1013 ? "The server is full" : "The server does not answer";
      this.problem(`${why}. The page keeps trying; nothing needs to be done.`, "Try now", () => this.client.connect());
    } else if (state === "open") {
      this.clearProblem();
    } else if (state === "closed" && code !== undefined) {
      this.problem(`The server ended the session: ${reason || `code ${code}`}. Press Start to begin anew.`);
      this.setListening(false);
    }
  }

  onLatency({ milliseconds }) {
    const output = $("latency");
    output.textContent = `Answer heard ${(milliseconds / 1000).toFixed(2)} s after you finished`;
    output.dataset.milliseconds = String(Math.round(milliseconds));
  }

  onTimings(timings) {
    $("latency").title = Object.entries(timings)
      .map(([name, value]) => `${name.replaceAll("_", " ")}: ${Math.round(value)} ms`)
      .join("\n");
  }

  problem(message, label = "", action = null) {
    $("problem").querySelector("p").textContent = message;
    $("problem-action").textContent = label;
    $("problem-action").hidden = action === null;
    $("problem-action").onclick = action;
    $("problem").hidden = false;
  }

  clearProblem() {
    $("problem").hidden = true;
  }

  showMode() {
    $("hold").hidden = !(this.holdMode && this.listening);
  }

  showExamples() {
    const button = (text) => {
      const item = document.createElement("li");
      const inner = Object.assign(document.createElement("button"), { type: "button", textContent: text });
      inner.onclick = () => this.speakForMe(text);
      item.append(inner);
      return item;
    };
    $("examples").append(...EXAMPLES.map(button));
    $("more-examples").append(...[...EXAMPLES, ...MORE_EXAMPLES].map(button));
  }

  // --- wiring ---

  listen() {
    this.client.addEventListener("state", ({ detail }) => this.onState(detail));
    this.conversation.addEventListener("session", ({ detail }) => this.onSession(detail));
    this.conversation.addEventListener("latency", ({ detail }) => this.onLatency(detail));
    this.conversation.addEventListener("timings", ({ detail }) => this.onTimings(detail));
    this.conversation.addEventListener("problem", ({ detail }) => this.problem(detail.message));
  }

  wire() {
    $("start").onclick = () => (this.listening ? this.stop() : this.start());
    $("mute").onclick = () => this.setMuted(!this.muted);
    $("problem-close").onclick = () => this.clearProblem();
    $("voice").onchange = () => this.configure();
    addVoices($("voice")).catch(() => {}); // without them the list has OpenAI's names
    $("mode").onchange = () => {
      this.release();
      this.showMode();
      this.configure();
    };
    $("speak").onclick = () => this.takeText((text) => this.speakForMe(text));
    $("say").onsubmit = (event) => {
      event.preventDefault();
      this.takeText((text) => this.say(text));
    };
    this.wireHold();
  }

  wireHold() {
    const isTyping = ({ target }) => target.closest("input, select, button:not(#hold), summary") !== null;
    addEventListener("keydown", (event) => {
      if (event.code === "Space" && this.holdMode && !isTyping(event)) {
        event.preventDefault();
        this.hold();
      }
    });
    addEventListener("keyup", (event) => event.code === "Space" && this.release());
    addEventListener("blur", () => this.release());
    $("hold").onpointerdown = () => this.hold();
    $("hold").onpointerup = () => this.release();
    $("hold").onpointerleave = () => this.release();
  }

  takeText(use) {
    const text = $("text").value.trim();
    if (text === "") {
      $("text").focus();
      return;
    }
    $("text").value = "";
    use(text).catch((error) => this.problem(error.message));
  }
}

window.antiphon = new App(); // for the console, and for the browser tests
