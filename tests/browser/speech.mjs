// Spoken test input: espeak-ng says it, silence is put between, a WAV file comes out.

import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";

const FOLDER = new URL("../../target/browser/", import.meta.url).pathname;
const RATE = 22050; // espeak-ng's own

function silence(seconds) {
  return Buffer.alloc(2 * Math.round(seconds * RATE));
}

function spoken(text, voice) {
  const wav = execFileSync("espeak-ng", ["-v", voice, "-s", "160", "--stdout", text]);
  const start = wav.indexOf("data") + 8; // the length in the header is not filled in when writing to a pipe
  return wav.subarray(start, start + 2 * Math.floor((wav.length - start) / 2));
}

function header(bytes) {
  const head = Buffer.alloc(44);
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + bytes, 4);
  head.write("WAVEfmt ", 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20); // PCM
  head.writeUInt16LE(1, 22); // mono
  head.writeUInt32LE(RATE, 24);
  head.writeUInt32LE(2 * RATE, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write("data", 36);
  head.writeUInt32LE(bytes, 40);
  return head;
}

/** Writes a WAV and gives its path; `parts` are sentences (string) and pauses (seconds). */
export function writeSpeech(name, parts, voice = "en-us") {
  const path = `${FOLDER}${name}`;
  mkdirSync(FOLDER, { recursive: true });
  const pieces = parts.map((part) => (typeof part === "number" ? silence(part) : spoken(part, voice)));
  const data = Buffer.concat(pieces);
  writeFileSync(path, Buffer.concat([header(data.length), data]));
  return path;
}
