// A Chromium with a recording as its microphone, and the page open in it. Keeps every frame that crosses the
// page's WebSocket, and everything that must not happen: script errors, blocked or foreign requests.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const URL_UNDER_TEST = process.env.ANTIPHON_URL;
const PICTURES = new URL("../../target/browser/", import.meta.url).pathname;
const DEADLINE = 30_000; // ms for anything to happen; two busy cores, real models

function findBrowser() {
  const names = [process.env.ANTIPHON_CHROMIUM, "chromium", "chromium-browser", "google-chrome"].filter(Boolean);
  for (const name of names) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch {
      // not this one
    }
  }
  throw new Error(`no browser found; looked for ${names.join(", ")}`);
}

function flags({ recording, allowed }) {
  return [
    "--no-sandbox", // CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=user-gesture-required", // as real users have it
    "--use-fake-device-for-media-stream",
    ...(allowed ? ["--use-fake-ui-for-media-stream"] : []),
    ...(recording ? [`--use-file-for-fake-audio-capture=${recording}%noloop`] : []),
  ];
}

class TestPage {
  /** @param {{recording?: string, allowed?: boolean}} options `allowed`: the microphone is granted */
  static async open({ recording = null, allowed = true, viewport = { width: 900, height: 820 }, prepare } = {}) {
    const profile = mkdtempSync(join(tmpdir(), "antiphon-browser-"));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: findBrowser(),
      headless: true,
      args: flags({ recording, allowed }),
      viewport,
    });
    const page = context.pages()[0] ?? (await context.newPage());
    const self = new TestPage(context, page, profile);
    await prepare?.(page);
    await page.goto(URL_UNDER_TEST);
    return self;
  }

  constructor(context, page, profile) {
    Object.assign(this, { context, page, profile, frames: [], faults: [], waiters: new Set() });
    page.setDefaultTimeout(DEADLINE);
    page.on("websocket", (socket) => this.follow(socket));
    page.on("pageerror", (error) => this.faults.push(`script error: ${error.message}`));
    page.on("console", (line) => line.type() === "error" && this.faults.push(`console: ${line.text()}`));
    page.on("request", (request) => {
      if (!/^(data|blob):/.test(request.url()) && new URL(request.url()).origin !== new URL(URL_UNDER_TEST).origin) {
        this.faults.push(`foreign request: ${request.url()}`);
      }
    });
  }

  follow(socket) {
    const keep = (from) => (frame) => {
      this.frames.push({ from, ...JSON.parse(frame.payload) });
      this.waiters.forEach((check) => check());
    };
    socket.on("framereceived", keep("server"));
    socket.on("framesent", keep("page"));
  }

  /** The first frame from `from` with this type at or after `after`; waits for it. */
  async frame(from, type, after = 0) {
    const find = () => this.frames.slice(after).find((frame) => frame.from === from && frame.type === type);
    return new Promise((resolve, reject) => {
      const check = () => {
        const found = find();
        if (found !== undefined) {
          clearTimeout(timer);
          this.waiters.delete(check);
          resolve(found);
        }
      };
      const timer = setTimeout(() => {
        this.waiters.delete(check);
        const seen = this.frames.slice(after).filter((frame) => frame.type !== "input_audio_buffer.append");
        reject(new Error(`no ${type} from ${from}; seen: ${seen.map((frame) => frame.type).join(", ")}`));
      }, DEADLINE);
      this.waiters.add(check);
      check();
    });
  }

  mark() {
    return this.frames.length;
  }

  /** Waits until the nth line of that speaker is finished and holds the text. */
  async line(who, text) {
    const line = this.page.locator(`.turn.${who}[data-state="done"] .words`, { hasText: text });
    await line.first().waitFor();
    return line.first().textContent();
  }

  playerStats() {
    return this.page.evaluate(() => ({ ...window.antiphon.player.stats }));
  }

  async picture(name) {
    mkdirSync(PICTURES, { recursive: true });
    await this.page.screenshot({ path: join(PICTURES, `${name}.png`) });
  }

  async close() {
    await this.context.close();
    rmSync(this.profile, { recursive: true, force: true });
  }
}

/** Opens the page, does `body` with it, ends the browser; fails on anything that must not have happened. */
export async function withPage(options, body) {
  const at = await TestPage.open(options);
  try {
    await body(at);
    assert.deepEqual(at.faults, []);
  } catch (error) {
    await at.picture(`failed-${Date.now()}`).catch(() => {});
    throw error;
  } finally {
    await at.close();
  }
}
