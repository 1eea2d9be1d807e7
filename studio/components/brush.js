// A mask painted over an image with brush, rectangle and lasso. Strokes are kept as a list, so that they can be undone,
// and drawn again when the component is remounted. State "mask": the image's id, a space, and a PNG of the displayed
// size as a data URL, white = painted; "" = none. Trigger "start": requests an initial mask, which arrives as data.base.
const COLOUR = "#e11d48";
const MAX_PICTURES = 8;
const MOST_ZOOM = 8;
const SHORT_SIDE = 320; // screen pixels to which the short side of a long image can be enlarged
const KEY = "imgedit-strokes";
const TOOLS = { brushing: "brush", rectangle: "rectangle", lasso: "lasso", hand: "hand" };
const remembered = new Map(read()); // id of the image → its strokes; the tab keeps them after a refresh
const layers = new Map(); // data URL of an initial mask → its image
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

async function load(strokes) {
  const wanted = strokes.filter((stroke) => stroke.layer && !layers.has(stroke.layer));
  for (const { layer } of wanted) {
    const image = new Image();
    image.src = layer;
    await image.decode();
    layers.set(layer, image);
  }
}

export default function ({ parentElement, data, setStateValue, setTriggerValue }) {
  const brush = parentElement.brush ?? (parentElement.brush = new Brush(parentElement));
  brush.show(data, setStateValue, setTriggerValue);
  return () => {
    parentElement.brush = undefined;
  };
}

class Brush {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    this.frame = find(".brush");
    this.view = find(".view");
    this.stage = find(".stage");
    this.picture = find("img");
    this.canvas = find("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.outline = find("svg");
    this.shape = find("polygon");
    this.cursor = find(".cursor");
    this.size = find("input");
    this.sizeLabel = find(".size span");
    this.covered = find(".covered");
    this.buttons = Object.fromEntries(Array.from(root.querySelectorAll("button"), (button) => [button.className, button]));
    this.tool = "brush";
    this.erases = false;
    this.zoom = 1;
    this.stroke = null;
    this.strokes = [];
    this.undone = [];
    this.pointers = new Map(); // id → [x, y] on the screen
    this.at = null;
    this.listen();
  }

  show(data, setStateValue, setTriggerValue) {
    latest = this;
    this.words = data.words;
    this.send = (mask) => setStateValue("mask", mask && `${this.id} ${mask}`);
    this.ask = (id) => setTriggerValue("start", id);
    this.name();
    this.take(data.base);
    if (this.id === data.id) return this.count();
    this.id = data.id;
    this.open(data);
  }

  name() {
    const { buttons, words } = this;
    for (const [name, button] of Object.entries(buttons)) if (words[name]) button.textContent = words[name];
    for (const name of ["in", "out", "fit"]) buttons[name].setAttribute("aria-label", words[`zoom_${name}`]);
    if (this.asked) buttons.start.textContent = words.starting;
    this.sizeLabel.textContent = words.size;
    this.canvas.setAttribute("aria-label", words.label);
  }

  async open(data) {
    const { id, width, height } = data;
    this.picture.src = data.picture;
    this.canvas.width = width;
    this.canvas.height = height;
    this.outline.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.frame.style.setProperty("--ratio", width / height);
    this.size.value = Math.round(Math.max(width, height) / 14);
    this.zoomTo(1);
    this.undone = [];
    this.strokes = remembered.get(id) ?? [];
    remembered.delete(id);
    remembered.set(id, this.strokes);
    if (remembered.size > MAX_PICTURES) remembered.delete(remembered.keys().next().value);
    await load(this.strokes);
    if (this.id !== id) return;
    this.redraw();
    if (this.strokes.length) this.report();
  }

  listen() {
    const { buttons, canvas, view } = this;
    for (const [name, tool] of Object.entries(TOOLS)) buttons[name].onclick = () => this.use(tool);
    buttons.paint.onclick = () => this.choose(false);
    buttons.erase.onclick = () => this.choose(true);
    buttons.undo.onclick = () => this.remove(1);
    buttons.redo.onclick = () => this.redo();
    buttons.clear.onclick = () => this.remove(this.strokes.length);
    buttons.invert.onclick = () => this.add({ tool: "invert" });
    buttons.start.onclick = () => this.start();
    buttons.out.onclick = () => this.zoomTo(this.zoom / 1.5);
    buttons.in.onclick = () => this.zoomTo(this.zoom * 1.5);
    buttons.fit.onclick = () => this.zoomTo(1);
    buttons.full.onclick = () => (this.isFull() ? document.exitFullscreen() : this.frame.requestFullscreen());
    this.frame.onfullscreenchange = () => buttons.full.setAttribute("aria-pressed", String(this.isFull()));
    canvas.onpointerdown = (event) => this.press(event);
    canvas.onpointermove = (event) => this.drag(event);
    canvas.onpointerup = canvas.onpointercancel = (event) => this.release(event);
    canvas.onpointerleave = () => this.stroke || this.hide();
    canvas.onfocus = () => canvas.matches(":focus-visible") && this.move(this.at ?? this.middle());
    canvas.onblur = () => this.finish() ?? this.hide();
    canvas.onkeydown = (event) => this.key(event);
    canvas.onkeyup = (event) => {
      if (event.key === " ") this.finish();
    };
    view.onwheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoomTo(this.zoom * Math.exp(-event.deltaY / 300), [event.clientX, event.clientY]);
    };
  }

  // Tools

  use(tool) {
    this.tool = tool;
    this.stage.dataset.tool = tool;
    for (const [name, own] of Object.entries(TOOLS)) this.buttons[name].setAttribute("aria-pressed", String(own === tool));
    if (tool !== "brush") this.hide();
  }

  choose(erases) {
    this.erases = erases;
    this.buttons.paint.setAttribute("aria-pressed", String(!erases));
    this.buttons.erase.setAttribute("aria-pressed", String(erases));
  }

  start() {
    this.asked = `${Date.now()}`;
    this.buttons.start.disabled = true;
    this.buttons.start.textContent = this.words.starting;
    this.ask(this.asked);
  }

  // Add the requested mask; ignore the answer to another mount's request.
  async take(base) {
    if (!this.asked || base?.id !== this.asked) return;
    this.asked = undefined;
    this.buttons.start.disabled = false;
    this.buttons.start.textContent = this.words.start;
    if (!base.layer) return;
    const stroke = { layer: base.layer };
    await load([stroke]);
    this.add(stroke);
  }

  // Pointers: one draws, or pans with the hand tool; two zoom and pan.

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.pointers.size > 1) this.drop();
    else if (this.tool !== "hand" && event.button === 0) this.begin(this.point(event));
  }

  drag(event) {
    const { pointers } = this;
    if (!pointers.has(event.pointerId)) return this.move(this.point(event));
    const before = this.spread();
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const now = this.spread();
    if (this.stroke) {
      this.move(this.point(event));
      this.extend(this.at);
    } else if (this.tool === "hand" || pointers.size > 1) {
      if (before.length) this.zoomTo((this.zoom * now.length) / before.length, before.middle);
      this.view.scrollBy(before.middle[0] - now.middle[0], before.middle[1] - now.middle[1]);
    }
  }

  release(event) {
    this.pointers.delete(event.pointerId);
    this.finish();
  }

  spread() {
    const [[x, y], [u, v] = [x, y]] = [...this.pointers.values()];
    return { middle: [(x + u) / 2, (y + v) / 2], length: Math.hypot(u - x, v - y) };
  }

  zoomTo(zoom, at) {
    const view = this.view.getBoundingClientRect();
    const [x, y] = at ?? [view.left + view.width / 2, view.top + view.height / 2];
    const before = this.stage.getBoundingClientRect();
    const short = Math.min(before.width, before.height) / this.zoom;
    const most = Math.max(MOST_ZOOM, short ? SHORT_SIDE / short : 0);
    this.zoom = Math.min(most, Math.max(1, zoom));
    this.frame.style.setProperty("--zoom", this.zoom);
    this.buttons.fit.textContent = `${Math.round(100 * this.zoom)}%`;
    const now = this.stage.getBoundingClientRect();
    const [across, down] = [(x - before.left) / before.width, (y - before.top) / before.height];
    this.view.scrollBy(now.left + across * now.width - x, now.top + down * now.height - y);
    if (this.at && this.cursor.style.display === "block") this.move(this.at);
  }

  isFull() {
    return this.frame.matches(":fullscreen");
  }

  isShown() {
    return this.canvas.isConnected && this.canvas.checkVisibility();
  }

  // Keys

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
    if (event.ctrlKey || event.metaKey) return;
    const by = event.shiftKey ? 2 : Math.max(2, this.size.value / 3);
    const ways = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] };
    const from = this.at ?? this.middle();
    if (ways[event.key]) {
      const inside = (value, end) => Math.min(end, Math.max(0, value));
      const [x, y] = ways[event.key];
      this.move([inside(from[0] + x, this.canvas.width), inside(from[1] + y, this.canvas.height)]);
      if (this.stroke) this.extend(this.at);
      if (this.zoom > 1) this.cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else if (event.key === " ") {
      if (!this.stroke && this.tool !== "hand") this.begin(from);
    } else if (event.key === "+" || event.key === "=") this.zoomTo(this.zoom * 1.5);
    else if (event.key === "-") this.zoomTo(this.zoom / 1.5);
    else return;
    event.preventDefault();
  }

  // Strokes

  begin(point) {
    this.move(point);
    this.stroke = { tool: this.tool, erases: this.erases, size: Number(this.size.value), points: [point] };
    if (this.tool === "brush") this.draw(this.stroke);
  }

  extend(point) {
    this.stroke.points.push(point);
    if (this.stroke.tool === "brush") this.draw(this.stroke, this.stroke.points.length - 2);
    else this.shape.setAttribute("points", outlined(this.stroke).join(" "));
  }

  finish() {
    const { stroke } = this;
    if (!stroke) return;
    this.stroke = null;
    this.shape.removeAttribute("points");
    if (stroke.tool === "brush" || stroke.points.length > 1) this.add(stroke);
  }

  drop() {
    this.stroke = null;
    this.shape.removeAttribute("points");
    this.redraw();
  }

  add(stroke) {
    this.strokes.push(stroke);
    this.undone = [];
    if (stroke.tool !== "brush") this.draw(stroke);
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
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const stroke of this.strokes) this.draw(stroke);
    this.count();
  }

  draw(stroke, from = 0) {
    const { context, canvas } = this;
    context.globalCompositeOperation = stroke.erases ? "destination-out" : "source-over";
    context.strokeStyle = context.fillStyle = COLOUR;
    if (stroke.layer) {
      context.globalCompositeOperation = "copy";
      context.drawImage(layers.get(stroke.layer), 0, 0, canvas.width, canvas.height);
    } else if (stroke.tool === "invert") {
      context.globalCompositeOperation = "xor";
      context.fillRect(0, 0, canvas.width, canvas.height);
    } else if (stroke.tool === "brush") {
      this.line(stroke, from);
    } else {
      context.fill(new Path2D(`M${outlined(stroke).join("L")}Z`));
    }
  }

  line(stroke, from) {
    const { context } = this;
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
    const pixels = this.strokes.length ? this.context.getImageData(0, 0, width, height).data : [];
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
    if (this.tool === "hand") return;
    const scale = this.canvas.clientWidth / this.canvas.width;
    const diameter = this.tool === "brush" ? this.size.value * scale : 8;
    Object.assign(this.cursor.style, {
      display: "block", width: `${diameter}px`, height: `${diameter}px`,
      left: `${point[0] * scale}px`, top: `${point[1] * scale}px`,
    });
  }

  hide() {
    this.cursor.style.display = "none";
  }
}

// The corners of what a rectangle or a lasso encloses.
function outlined({ tool, points }) {
  if (tool === "lasso") return points;
  const [[left, top], [right, bottom]] = [points[0], points.at(-1)];
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}
