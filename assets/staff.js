// The picture of who spoke when: four lines as in a book of chant, the user's notes in ink, the answers' in red.
// Decoration that also is the level meter; the same is said in words elsewhere.

const STEP = 80; // ms a note
const GAP = 9; // px between notes
const LINES = 4;

function height(level) {
  const decibels = 20 * Math.log10(Math.max(level, 1e-4));
  return Math.max(0, Math.min(1, (decibels + 50) / 44)); // -50 dB: nothing; -6 dB: top
}

export class Staff {
  constructor(canvas) {
    this.canvas = canvas;
    this.notes = []; // newest last: { user, assistant }, heights 0..1
    this.now = { user: 0, assistant: 0 };
    this.timer = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  start() {
    this.timer ||= setInterval(() => this.tick(), STEP);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
  }

  level(who, value) {
    this.now[who] = Math.max(this.now[who], height(value));
  }

  tick() {
    this.notes.push(this.now);
    this.now = { user: 0, assistant: 0 };
    this.notes.splice(0, Math.max(0, this.notes.length - 400));
    this.draw();
  }

  draw() {
    const scale = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: tall } = this.canvas;
    this.canvas.width = width * scale;
    this.canvas.height = tall * scale;
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(this.canvas);
    const colours = { ink: style.getPropertyValue("--ink"), accent: style.getPropertyValue("--accent") };
    this.drawLines(pen, width, tall, style.getPropertyValue("--staff"));
    this.notes.forEach((note, index) => {
      const x = width - (this.notes.length - index) * GAP;
      if (x > -GAP) {
        this.drawNote(pen, x, tall, note.user, colours.ink);
        this.drawNote(pen, x, tall, note.assistant, colours.accent);
      }
    });
  }

  drawLines(pen, width, tall, colour) {
    pen.fillStyle = colour;
    for (let line = 0; line < LINES; line += 1) {
      pen.fillRect(0, Math.round(this.y(tall, line / (LINES - 1))), width, 1);
    }
  }

  // A square note, as in chant; loud is high. Half the way from line to line is the smallest step.
  drawNote(pen, x, tall, value, colour) {
    if (value > 0.08) {
      const place = Math.round(value * (LINES - 1) * 2) / (LINES - 1) / 2;
      pen.fillStyle = colour;
      pen.fillRect(x, Math.round(this.y(tall, place)) - 3, 6, 7);
    }
  }

  y(tall, place) {
    const margin = 8;
    return tall - margin - place * (tall - 2 * margin);
  }
}
