// Speech for people without a microphone, by the server's own text-to-speech.

import { serverVoices } from "./voices.js";

const RATE = 24000;
const LEAD = 0.2; // seconds of silence before it, as before any real utterance
// Not the voice that answers: espeak-ng's where the server has it, else one of OpenAI's names.
const [ESPEAK, OTHER] = ["en-us", "sage"];

/** The sentence as samples at 24 kHz. */
export async function synthesise(input) {
  const there = (await serverVoices()).some(([, names]) => names.includes(ESPEAK));
  const voice = there ? `${ESPEAK}+f3` : OTHER;
  const response = await fetch("/v1/audio/speech", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ input, voice, response_format: "pcm" }),
  });
  if (!response.ok) {
    throw new Error(`the server answered ${response.status}`);
  }
  const pcm = new Int16Array(await response.arrayBuffer());
  const samples = new Float32Array(Math.round(LEAD * RATE) + pcm.length);
  samples.set(Float32Array.from(pcm, (value) => value / 32768), Math.round(LEAD * RATE));
  return samples;
}
