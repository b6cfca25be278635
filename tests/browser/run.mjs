// The page in a real Chromium against the running server at ANTIPHON_URL, with its real engines.
// Run by `make test`; alone: scripts/with-server -- node tests/browser/run.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import "./audio.mjs";
import { URL_UNDER_TEST, withPage } from "./page.mjs";
import { writeSpeech } from "./speech.mjs";

assert.ok(URL_UNDER_TEST, "ANTIPHON_URL is not set; run this through scripts/with-server");
const LIMIT = { timeout: 120_000 };

test("a spoken conversation: heard, remembered, answered aloud", LIMIT, async () => {
  const recording = writeSpeech("name.wav", [1.5, "My name is Anna.", 4.5, "What is my name?", 30]);
  await withPage({ recording }, async (at) => {
    await at.picture("1-welcome");
    await at.page.click("#start");
    assert.match(await at.line("user", /my name is/i), /anna/i);
    assert.match(await at.line("user", /what is my name/i), /what is my name/i);
    assert.match(await at.line("assistant", /your name is/i), /anna/i);
    const stats = await at.playerStats();
    assert.ok(stats.playedSeconds > 1, `played ${stats.playedSeconds} s`);
    assert.ok(stats.peakLevel > 0.01, `loudest ${stats.peakLevel}`);
    const latency = Number(await at.page.locator("#latency").getAttribute("data-milliseconds"));
    assert.ok(latency > 0 && latency < 20_000, `latency ${latency} ms`);
    console.log(`# last word to answer heard: ${latency} ms, underruns ${stats.underruns}`);
    await at.picture("2-conversation");
    await at.page.emulateMedia({ colorScheme: "dark" });
    await at.picture("3-conversation-dark");
    await at.page.click("#start");
    await at.page.locator('#connection[data-state="closed"]').waitFor();
  });
});

test("typing works without a microphone", LIMIT, async () => {
  await withPage({ viewport: { width: 390, height: 760 } }, async (at) => {
    const say = async (text) => {
      await at.page.fill("#text", text);
      await at.page.press("#text", "Enter");
    };
    await say("My name is Peter.");
    assert.match(await at.line("assistant", /peter/i), /peter/i);
    await say("What is my name?");
    assert.match(await at.line("assistant", /your name is/i), /peter/i);
    assert.ok((await at.playerStats()).peakLevel > 0.01);
    assert.equal(at.frames.filter((frame) => frame.type === "input_audio_buffer.append").length, 0);
    await at.picture("4-typed-narrow");
  });
});

test("speaking while an answer plays stops it, and the rest was never said", LIMIT, async () => {
  await withPage({}, async (at) => {
    await at.page.fill("#text", "Tell me a story.");
    await at.page.click("#send");
    await at.page.waitForFunction(() => document.querySelector(".assistant .words")?.textContent.split(" ").length > 4);
    const mark = at.mark();
    await at.page.click("summary");
    await at.page.click("#more-examples button:has-text('What is my name?')");
    await at.frame("server", "input_audio_buffer.speech_started", mark);
    await at.page.locator('.assistant[data-state="cut"]').waitFor();
    assert.equal(await at.page.evaluate(() => window.antiphon.player.item), null, "playback went on");
    const { item_id: item, audio_end_ms: heard } = await at.frame("page", "conversation.item.truncate", mark);
    const truncated = await at.frame("server", "conversation.item.truncated", mark);
    assert.equal(truncated.item_id, item);
    assert.ok(heard > 300, `heard ${heard} ms`);
    const { item: kept } = await at.frame("server", "conversation.item.retrieved", mark);
    const shown = `${kept.content[0].transcript.trimEnd()}— (interrupted)`;
    await at.page.getByText(shown, { exact: true }).waitFor();
    await at.picture("5-interrupted");
    await at.line("user", /what is my name/i);
    await at.line("assistant", /name/i);
  });
});

test("push-to-talk: nothing is heard until it is sent", LIMIT, async () => {
  await withPage({}, async (at) => {
    await at.page.selectOption("#mode", "hold");
    await at.page.fill("#text", "My name is Peter.");
    await at.page.click("#speak");
    await at.frame("page", "input_audio_buffer.commit");
    assert.match(await at.line("user", /my name is/i), /peter/i);
    await at.line("assistant", /peter/i);
    assert.ok(!at.frames.some((frame) => frame.type === "input_audio_buffer.speech_started"));
    await at.picture("6-push-to-talk");
  });
});

test("holding Space talks", LIMIT, async () => {
  const recording = writeSpeech("held.wav", [2, "Hello.", 60]);
  await withPage({ recording }, async (at) => {
    await at.page.selectOption("#mode", "hold");
    await at.page.click("#start");
    await at.page.locator("#hold").waitFor();
    await at.page.waitForFunction(() => window.antiphon.microphone?.isOpen);
    await at.page.keyboard.down("Space");
    await at.page.waitForFunction(() => window.antiphon.conversation.clock.speechEnd() !== null, null, { polling: 50 });
    await at.page.waitForFunction(() => performance.now() - window.antiphon.conversation.clock.speechEnd() > 300);
    await at.page.keyboard.up("Space");
    await at.frame("page", "input_audio_buffer.commit");
    await at.frame("server", "response.output_audio.delta");
  });
});

test("a refused microphone is explained, and typing goes on", LIMIT, async () => {
  await withPage({ allowed: false }, async (at) => {
    await at.page.click("#start");
    await at.page.locator("#problem", { hasText: "Allow it in the site settings" }).waitFor();
    await at.picture("7-refused");
    await at.page.fill("#text", "Hello.");
    await at.page.click("#send");
    await at.line("assistant", /\w/);
  });
});

test("a lost server is told, and the page comes back by itself", LIMIT, async () => {
  let connections = 0;
  let drop = null;
  const prepare = (page) =>
    page.routeWebSocket(/\/v1\/realtime/, (socket) => {
      connections += 1;
      socket.connectToServer();
      drop = () => socket.close({ code: 1012, reason: "restart" });
    });
  await withPage({ prepare }, async (at) => {
    await at.page.fill("#text", "Hello.");
    await at.page.click("#send");
    await at.line("assistant", /\w/);
    await drop();
    await at.page.locator('#connection[data-state="waiting"]').waitFor();
    await at.picture("8-server-away");
    await at.page.locator('#connection[data-state="open"]').waitFor();
    assert.equal(connections, 2);
  });
});
