// The voices that this server has beside OpenAI's names, as `GET /v1/models` tells them.

/** Names by engine: [["kokoro", ["af_heart", ..]], ..]; empty where the server does not tell. */
export async function serverVoices() {
  const response = await fetch("/v1/models");
  if (!response.ok) {
    return [];
  }
  const speaking = (await response.json()).data.filter((model) => model.antiphon.kind === "text_to_speech");
  return speaking.map((model) => [model.id, model.antiphon.voices ?? []]);
}

/** Adds them to a list that has some already, a group for each engine. */
export async function addVoices(select) {
  const there = new Set([...select.options].map((option) => option.value));
  for (const [engine, names] of await serverVoices()) {
    const group = document.createElement("optgroup");
    group.label = engine;
    group.append(...names.filter((name) => !there.has(name)).map((name) => new Option(name)));
    if (group.children.length) {
      select.append(group);
    }
  }
}
