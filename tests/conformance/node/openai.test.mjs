// The official `openai` package for Node: both of its Realtime clients. They speak TLS only.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { HTTPS, KEY, Record, speak, spoken } from "./record.mjs";

const LIMIT = { timeout: 120_000 };
const WEATHER = {
  type: "function",
  name: "get_weather",
  description: "Get the weather of a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
// `ws` sends the key as a header; the native class sends it as a subprotocol and offers `realtime` beside it.
const CLIENTS = { ws: OpenAIRealtimeWS, websocket: OpenAIRealtimeWebSocket };

class Talk {
  constructor(name, Client, kind) {
    this.record = new Record(name);
    this.errors = [];
    this.rt = new Client(kind, new OpenAI({ baseURL: `${HTTPS}/v1`, apiKey: KEY }));
    this.rt.on("event", (event) => this.record.take(event));
    this.rt.on("error", (error) => this.errors.push(error));
  }

  send(type, fields = {}) {
    this.rt.send({ type, ...fields });
  }

  update(session) {
    this.send("session.update", { session: { type: "realtime", ...session } });
    return this.record.until("session.updated");
  }

  write(text) {
    const content = [{ type: "input_text", text }];
    this.send("conversation.item.create", { item: { type: "message", role: "user", content } });
    this.send("response.create");
  }

  async ask(text) {
    this.write(text);
    return this.record.completed();
  }

  speak(pcm) {
    return speak(pcm, (piece) => this.send("input_audio_buffer.append", { audio: piece.toString("base64") }));
  }
}

async function talk(name, Client, body, kind = { model: "gpt-realtime" }) {
  const it = new Talk(name, Client, kind);
  try {
    await it.record.until("session.created");
    await body(it);
    assert.deepEqual(it.errors, []);
  } finally {
    it.rt.close();
  }
}

for (const [name, Client] of Object.entries(CLIENTS)) {
  test(`openai/realtime/${name}: written turns`, LIMIT, () =>
    talk(`openai-${name}-written`, Client, async (it) => {
      await it.update({ output_modalities: ["text"] });
      await it.ask("My name is Clara.");
      assert.match(await it.ask("What is my name?"), /clara/i);
    }));

  test(`openai/realtime/${name}: spoken turns`, LIMIT, () =>
    talk(`openai-${name}-spoken`, Client, async (it) => {
      await it.update({ audio: { input: { transcription: { model: "whisper-1" } } } });
      let answer;
      for (const sentence of ["my-name-is-anna", "what-is-my-name"]) {
        [answer] = await Promise.all([it.record.completed(), it.speak(spoken(sentence))]);
      }
      assert.match(answer, /anna/i);
      const heard = it.record.ofType("conversation.item.input_audio_transcription.completed");
      assert.match(heard.map((frame) => frame.transcript).join(" "), /my name is anna.*what is my name/i);
    }));

  test(`openai/realtime/${name}: a tool call`, LIMIT, () =>
    talk(`openai-${name}-tool`, Client, async (it) => {
      await it.update({ output_modalities: ["text"], tools: [WEATHER] });
      it.write("What is the weather in Paris?");
      const { response } = await it.record.until("response.done");
      const call = response.output.find((item) => item.type === "function_call");
      assert.deepEqual([call.name, JSON.parse(call.arguments)], ["get_weather", { city: "Paris" }]);
      const output = '{"weather": "sunny", "temperature": 21}';
      it.send("conversation.item.create", { item: { type: "function_call_output", call_id: call.call_id, output } });
      it.send("response.create");
      assert.match(await it.record.completed(), /sunny.*Paris/);
    }));

  test(`openai/realtime/${name}: speech interrupts, truncate keeps what was heard`, LIMIT, () =>
    talk(`openai-${name}-barge-in`, Client, async (it) => {
      it.write("Tell me a story.");
      const { item_id: item } = await it.record.until("response.output_audio.delta");
      const speaking = it.speak(spoken("what-is-my-name"));
      const { response } = await it.record.until("response.done");
      assert.deepEqual([response.status, response.status_details.reason], ["cancelled", "turn_detected"]);
      it.send("conversation.item.truncate", { item_id: item, content_index: 0, audio_end_ms: 700 });
      assert.equal((await it.record.until("conversation.item.truncated")).audio_end_ms, 700);
      it.send("conversation.item.retrieve", { item_id: item });
      const { item: kept } = await it.record.until("conversation.item.retrieved");
      const said = it.record.ofType("response.output_audio_transcript.delta").filter((frame) => frame.item_id === item);
      const heard = (kept.content[0].transcript ?? "").replace(/[ .]+$/, "");
      assert.ok(said.map((frame) => frame.delta).join("").startsWith(heard), heard);
      await it.record.completed();
      await speaking;
    }));
}

test("openai/realtime/ws: a transcription session", LIMIT, () =>
  talk(
    "openai-ws-transcription",
    OpenAIRealtimeWS,
    async (it) => {
      const input = { transcription: { model: "gpt-4o-transcribe" }, turn_detection: { type: "server_vad" } };
      it.send("session.update", { session: { type: "transcription", audio: { input } } });
      await it.record.until("session.updated");
      const completed = "conversation.item.input_audio_transcription.completed";
      const [{ transcript }] = await Promise.all([it.record.until(completed), it.speak(spoken("my-name-is-anna"))]);
      assert.match(transcript, /my name is anna/i);
    },
    { intent: "transcription" },
  ));

test("openai/realtime/ws: an error event reaches the error listener and the session goes on", LIMIT, () =>
  talk("openai-ws-error", OpenAIRealtimeWS, async (it) => {
    await it.update({ output_modalities: ["text"] });
    it.send("response.cancel", { event_id: "my-cancel" });
    it.write("Hello.");
    await new Promise((resolve) => it.rt.once("response.done", resolve));
    assert.deepEqual(it.errors.splice(0).map((error) => error.error.code), ["response_cancel_not_active"]);
  }));
