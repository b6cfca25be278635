// The written side of the conversation. The user's words appear as they are recognised, the assistant's as they
// are heard; what was interrupted ends with a mark.

const SECONDS_A_LETTER = 0.054; // of speech, where the server sends no word times

function element(tag, className, text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

class Turn {
  constructor(id, who, speaker) {
    this.node = element("li", `turn ${who}`);
    this.node.dataset.item = id;
    this.words = element("p", "words");
    this.node.append(element("span", "speaker", speaker), this.words);
  }
}

class UserTurn extends Turn {
  constructor(id) {
    super(id, "user", "You");
    this.node.dataset.state = "listening";
  }

  addPartial(text) {
    this.words.append(text);
  }

  finish(text) {
    this.node.dataset.state = text.trim() === "" ? "empty" : "done";
    this.words.textContent = text.trim() || "nothing that could be understood";
  }
}

class AssistantTurn extends Turn {
  constructor(id) {
    super(id, "assistant", "Antiphon");
    this.node.dataset.state = "speaking";
    this.waiting = []; // [{ text, at }] seconds into the answer's audio
    this.last = 0;
  }

  /** Words that are spoken from `at` seconds on. */
  addText(text, at) {
    this.last = Math.max(this.last, at);
    for (const piece of text.match(/\s*\S+|\s+$/gu) ?? []) {
      this.waiting.push({ text: piece, at: this.last });
      this.last += piece.length * SECONDS_A_LETTER;
    }
  }

  reveal(heard) {
    while (this.waiting.length > 0 && this.waiting[0].at < heard) {
      this.words.append(this.waiting.shift().text);
    }
  }

  finish() {
    this.reveal(Infinity);
    if (this.node.dataset.state === "speaking") {
      this.node.dataset.state = "done";
    }
  }

  /** Interrupted after `heard` seconds: what was not heard was not said. */
  cut(heard) {
    if (this.node.dataset.state !== "speaking") {
      return;
    }
    this.reveal(heard);
    this.node.dataset.state = "cut";
    this.showCut(this.words.textContent);
  }

  /** What the server holds to have been heard: it knows the time of every word. */
  correct(text) {
    if (this.node.dataset.state === "cut") {
      this.showCut(text);
    }
  }

  showCut(text) {
    this.waiting = [];
    const mark = element("span", "cut", "—");
    mark.setAttribute("aria-hidden", "true");
    this.words.replaceChildren(text.trimEnd(), mark, element("span", "unseen", " (interrupted)"));
  }
}

export class Transcript {
  constructor(list, scroller, onFirst) {
    this.list = list;
    this.scroller = scroller;
    this.onFirst = onFirst;
    this.turns = new Map();
  }

  user(id) {
    return this.turn(id, UserTurn);
  }

  assistant(id) {
    return this.turn(id, AssistantTurn);
  }

  find(id) {
    return this.turns.get(id) ?? null;
  }

  turn(id, Kind) {
    if (!this.turns.has(id)) {
      const turn = new Kind(id);
      this.turns.set(id, turn);
      this.list.append(turn.node);
      this.onFirst();
      this.follow();
    }
    return this.turns.get(id);
  }

  remove(id) {
    this.turns.get(id)?.node.remove();
    this.turns.delete(id);
  }

  /** A line across the page: what follows knows nothing of what stands above. */
  divide(text) {
    if (this.turns.size > 0) {
      this.list.append(element("li", "divider", text));
      this.turns.clear();
    }
  }

  /** Keeps the newest line in view, unless the reader has scrolled up. */
  follow() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    if (scrollHeight - scrollTop - clientHeight < 160) {
      this.scroller.scrollTop = scrollHeight;
    }
  }
}
