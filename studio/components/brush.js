// A mask painted over a picture. Strokes are kept as points, so that they can be undone and drawn again when the
// component is mounted anew. State "mask": a PNG as a data URL, white = painted, of the shown picture's size; "" = none.
const COLOUR = "#e11d48";
const MAX_PICTURES = 8;
const KEY = "imgedit-strokes";
const remembered = new Map(read()); // id of the picture → its strokes; this tab keeps them over a refresh
let latest; // the brush that was shown last; Ctrl+Z means it where no text is being written

document.addEventListener("keydown", (event) => latest?.isShown() && latest.shortcut(event), { capture: true });

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  } catch {
    return [];
  }
}

function write() {
  try {
    sessionStorage.setItem(KEY, JSON.stringify([...remembered]));
  } catch {
    sessionStorage.removeItem(KEY); // more strokes than a tab may keep: they stay until the page is left
  }
}

export default function ({ parentElement, data, setStateValue }) {
  const brush = parentElement.brush ?? (parentElement.brush = new Brush(parentElement));
  brush.show(data, setStateValue);
  return () => {
    parentElement.brush = undefined;
  };
}

class Brush {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    this.picture = find("img");
    this.canvas = find("canvas");
    this.cursor = find(".cursor");
    this.size = find("input");
    this.covered = find(".covered");
    this.buttons = Object.fromEntries(["paint", "erase", "undo", "redo", "clear", "full"].map((name) => [name, find(`.${name}`)]));
    this.frame = find(".brush");
    this.sizeLabel = find(".size span");
    this.erases = false;
    this.stroke = null;
    this.strokes = [];
    this.undone = [];
    this.at = null;
    this.isSpaceDown = false;
    this.listen();
  }

  show(data, setStateValue) {
    latest = this;
    this.words = data.words;
    this.send = (mask) => setStateValue("mask", mask);
    for (const [name, button] of Object.entries(this.buttons)) button.textContent = data.words[name];
    this.sizeLabel.textContent = data.words.size;
    this.canvas.setAttribute("aria-label", data.words.label);
    if (this.id === data.id) return this.count();
    this.id = data.id;
    this.picture.src = data.picture;
    this.canvas.width = data.width;
    this.canvas.height = data.height;
    this.frame.style.setProperty("--ratio", data.width / data.height);
    this.size.value = Math.round(Math.max(data.width, data.height) / 16);
    this.undone = [];
    this.strokes = remembered.get(data.id) ?? [];
    remembered.delete(data.id);
    remembered.set(data.id, this.strokes);
    if (remembered.size > MAX_PICTURES) remembered.delete(remembered.keys().next().value);
    this.redraw();
    if (this.strokes.length) this.report();
  }

  listen() {
    this.buttons.paint.onclick = () => this.choose(false);
    this.buttons.erase.onclick = () => this.choose(true);
    this.buttons.undo.onclick = () => this.remove(1);
    this.buttons.redo.onclick = () => this.redo();
    this.buttons.clear.onclick = () => this.remove(this.strokes.length);
    this.buttons.full.onclick = () => (this.isFull() ? document.exitFullscreen() : this.frame.requestFullscreen());
    this.frame.onfullscreenchange = () => this.buttons.full.setAttribute("aria-pressed", String(this.isFull()));
    const canvas = this.canvas;
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.begin(this.point(event));
    };
    canvas.onpointermove = (event) => {
      this.move(this.point(event));
      if (this.stroke) this.extend(this.at);
    };
    canvas.onpointerup = canvas.onpointercancel = () => this.finish();
    canvas.onpointerleave = () => this.stroke || this.hide();
    canvas.onfocus = () => canvas.matches(":focus-visible") && this.move(this.at ?? this.middle());
    canvas.onblur = () => this.finish() ?? this.hide();
    canvas.onkeydown = (event) => this.key(event);
    canvas.onkeyup = (event) => {
      if (event.key === " ") this.finish();
    };
  }

  isFull() {
    return this.frame.matches(":fullscreen");
  }

  isShown() {
    return this.canvas.isConnected && this.canvas.checkVisibility();
  }

  shortcut(event) {
    const pressed = event.key.toLowerCase();
    if (!(event.ctrlKey || event.metaKey) || event.altKey || !["z", "y"].includes(pressed)) return;
    const field = event.composedPath()[0];
    if (field.matches?.("input:not([type=range]), textarea, [contenteditable=true]")) return;
    event.preventDefault(); // else the browser takes back what was written last, wherever that was
    if (pressed === "y" || event.shiftKey) this.redo();
    else this.remove(1);
  }

  key(event) {
    const by = event.shiftKey ? 2 : Math.max(2, this.size.value / 3);
    const ways = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] };
    const from = this.at ?? this.middle();
    if (ways[event.key]) {
      const inside = (value, end) => Math.min(end, Math.max(0, value));
      const [x, y] = ways[event.key];
      this.move([inside(from[0] + x, this.canvas.width), inside(from[1] + y, this.canvas.height)]);
      if (this.stroke) this.extend(this.at);
    } else if (event.key === " ") {
      if (!this.stroke) this.begin(from);
    } else return;
    event.preventDefault();
  }

  choose(erases) {
    this.erases = erases;
    this.buttons.paint.setAttribute("aria-pressed", String(!erases));
    this.buttons.erase.setAttribute("aria-pressed", String(erases));
  }

  begin(point) {
    this.move(point);
    this.stroke = { erases: this.erases, size: Number(this.size.value), points: [point] };
    this.strokes.push(this.stroke);
    this.undone = [];
    this.draw(this.stroke, 0);
  }

  extend(point) {
    this.stroke.points.push(point);
    this.draw(this.stroke, this.stroke.points.length - 2);
  }

  finish() {
    if (!this.stroke) return;
    this.stroke = null;
    this.report();
  }

  remove(count) {
    if (!count || !this.strokes.length) return;
    this.undone.push(...this.strokes.splice(-count).reverse());
    this.redraw();
    this.report();
  }

  redo() {
    if (!this.undone.length) return;
    this.strokes.push(this.undone.pop());
    this.redraw();
    this.report();
  }

  redraw() {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const stroke of this.strokes) this.draw(stroke, 0);
    this.count();
  }

  draw(stroke, from) {
    const context = this.canvas.getContext("2d");
    context.globalCompositeOperation = stroke.erases ? "destination-out" : "source-over";
    context.strokeStyle = COLOUR;
    context.lineWidth = stroke.size;
    context.lineCap = context.lineJoin = "round";
    const [first, ...rest] = stroke.points.slice(from);
    context.beginPath();
    context.moveTo(...first);
    for (const point of rest.length ? rest : [[first[0] + 0.01, first[1]]]) context.lineTo(...point);
    context.stroke();
  }

  report() {
    write();
    const isEmpty = !this.count();
    if (isEmpty) return this.send("");
    const mask = document.createElement("canvas");
    mask.width = this.canvas.width;
    mask.height = this.canvas.height;
    const context = mask.getContext("2d");
    context.drawImage(this.canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, mask.width, mask.height);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "#000";
    context.fillRect(0, 0, mask.width, mask.height);
    this.send(mask.toDataURL("image/png"));
  }

  count() {
    const { width, height } = this.canvas;
    const pixels = this.strokes.length ? this.canvas.getContext("2d").getImageData(0, 0, width, height).data : [];
    let painted = 0;
    for (let i = 3; i < pixels.length; i += 4) painted += pixels[i] > 127;
    const percent = (100 * painted) / (width * height);
    this.covered.textContent = this.words.covered.replace("{percent}", percent < 10 ? percent.toFixed(1) : percent.toFixed(0));
    return painted;
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  middle() {
    return [this.canvas.width / 2, this.canvas.height / 2];
  }

  move(point) {
    this.at = point;
    const scale = this.canvas.clientWidth / this.canvas.width;
    const diameter = this.size.value * scale;
    Object.assign(this.cursor.style, {
      display: "block", width: `${diameter}px`, height: `${diameter}px`,
      left: `${point[0] * scale}px`, top: `${point[1] * scale}px`,
    });
  }

  hide() {
    this.cursor.style.display = "none";
  }
}
