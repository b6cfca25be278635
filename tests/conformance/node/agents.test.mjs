// `@openai/agents-realtime`: the stock RealtimeSession over WebSocket, with only the address changed. Its schemas demote
// an event that they do not know to a generic one, which the session then ignores; none may be.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";
import { HTTPS, KEY, Record, speak, spoken } from "./record.mjs";

const LIMIT = { timeout: 120_000 };
const PLAIN = process.env.ANTIPHON_URL.replace("http", "ws");
const SECURE = HTTPS.replace("http", "ws");

function weather(asked) {
  return tool({
    name: "get_weather",
    description: "Get the weather of a city.",
    parameters: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      asked.push(city);
      return '{"weather": "sunny", "temperature": 21}';
    },
  });
}

/** Keeps every message of the socket, and the types of those that the transport passed on as what they are. */
function tap(transport, record) {
  const typed = [];
  transport.on("connection_change", (status) => {
    if (status !== "connecting") return;
    transport.connectionState.websocket.addEventListener("message", ({ data }) => record.take(data));
  });
  const emit = transport.emit.bind(transport);
  let raw = null;
  transport.emit = (type, ...rest) => {
    if (type === "*") raw = rest[0].type;
    else if (type === raw) {
      typed.push(raw);
      raw = null;
    }
    return emit(type, ...rest);
  };
  return typed;
}

async function talk(name, { tools = [], address = PLAIN } = {}, body) {
  const record = new Record(name);
  const agent = new RealtimeAgent({ name: "Assistant", instructions: "Be brief.", tools });
  const transport = new OpenAIRealtimeWebSocket();
  const typed = tap(transport, record);
  const session = new RealtimeSession(agent, { transport });
  const errors = [];
  session.on("error", ({ error }) => errors.push(error));
  try {
    await session.connect({ apiKey: KEY, url: `${address}/v1/realtime?model=gpt-realtime` });
    await record.until("session.updated");
    await body(session, record);
  } finally {
    session.close();
  }
  assert.deepEqual(errors, []);
  assert.deepEqual(typed, record.frames.map((frame) => frame.type), "events demoted to generic ones");
}

test("agents-realtime: this file notices an event that is demoted", () => {
  const transport = new OpenAIRealtimeWebSocket();
  const typed = tap(transport, { take() {} });
  const item = { id: "item_1", type: "message", role: "user", content: [] };
  for (const status of ["completed", null]) {
    const event = { type: "conversation.item.done", event_id: "e", item: { ...item, status } };
    transport._onMessage({ data: JSON.stringify(event) });
  }
  assert.deepEqual(typed, ["conversation.item.done"]); // the one with null is generic
});

const say = (session) => (piece) => session.sendAudio(new Uint8Array(piece).buffer);

test("agents-realtime: written turns", LIMIT, () =>
  talk("agents-written", {}, async (session, record) => {
    session.sendMessage("My name is Clara.");
    await record.completed();
    session.sendMessage("What is my name?");
    assert.match(await record.completed(), /clara/i);
    const told = session.history.map((item) => [item.role, item.status]);
    const whole = (role) => [role, "completed"];
    assert.deepEqual(told, ["user", "assistant", "user", "assistant"].map(whole));
  }));

test("agents-realtime: spoken turns, over TLS", LIMIT, () =>
  talk("agents-spoken", { address: SECURE }, async (session, record) => {
    let answer;
    for (const sentence of ["my-name-is-anna", "what-is-my-name"]) {
      [answer] = await Promise.all([record.completed(), speak(spoken(sentence), say(session))]);
    }
    assert.match(answer, /anna/i);
    const heard = session.history.filter((item) => item.role === "user").map((item) => item.content[0].transcript);
    assert.match(heard.join(" "), /my name is anna.*what is my name/i);
  }));

test("agents-realtime: a tool call", LIMIT, async () => {
  const asked = [];
  await talk("agents-tool", { tools: [weather(asked)] }, async (session, record) => {
    session.sendMessage("What is the weather in Paris?");
    await record.completed();
    assert.match(await record.completed(), /sunny.*Paris/); // the session sends the result and asks on by itself
  });
  assert.deepEqual(asked, ["Paris"]);
});

test("agents-realtime: speech interrupts and truncates to what was heard", LIMIT, () =>
  talk("agents-barge-in", {}, async (session, record) => {
    const interrupted = new Promise((resolve) => session.once("audio_interrupted", resolve));
    session.sendMessage("Tell me a story.");
    const { item_id: item } = await record.until("response.output_audio.delta");
    const speaking = speak(spoken("what-is-my-name"), say(session));
    const { response } = await record.until("response.done");
    assert.deepEqual([response.status, response.status_details.reason], ["cancelled", "turn_detected"]);
    await interrupted;
    const truncated = await record.until("conversation.item.truncated");
    assert.equal(truncated.item_id, item);
    assert.ok(truncated.audio_end_ms > 0);
    const { item: kept } = await record.until("conversation.item.retrieved");
    const said = record.ofType("response.output_audio_transcript.delta").filter((frame) => frame.item_id === item);
    const heard = (kept.content[0].transcript ?? "").replace(/[ .]+$/, "");
    assert.ok(said.map((frame) => frame.delta).join("").startsWith(heard), heard);
    await record.completed();
    await speaking;
  }));

test("agents-realtime: interrupt() stops the answer", LIMIT, () =>
  talk("agents-interrupt", {}, async (session, record) => {
    session.sendMessage("Tell me a story.");
    const { item_id: item } = await record.until("response.output_audio.delta");
    session.interrupt();
    const { response } = await record.until("response.done");
    assert.deepEqual([response.status, response.status_details.reason], ["cancelled", "client_cancelled"]);
    assert.equal((await record.until("conversation.item.truncated")).item_id, item);
    session.sendMessage("Hello.");
    assert.ok(await record.completed());
  }));

test("agents-realtime: the history is emptied, and put back", LIMIT, () =>
  talk("agents-history", {}, async (session, record) => {
    session.sendMessage("My name is Clara.");
    await record.completed();
    // Spoken answers go back as text: the SDK wants it so.
    const asText = (part) => (part.type === "output_audio" ? { type: "output_text", text: part.transcript } : part);
    const history = session.history.map((item) => ({ ...item, content: item.content.map(asText) }));
    session.updateHistory([]);
    await record.until("conversation.item.deleted");
    await record.until("conversation.item.deleted");
    session.sendMessage("What is my name?");
    assert.doesNotMatch(await record.completed(), /clara/i);
    session.updateHistory(history);
    await record.until("conversation.item.added");
    await record.until("conversation.item.added");
    session.sendMessage("What is my name?");
    assert.match(await record.completed(), /clara/i);
  }));
