// Cut out a part of a picture, and turn it. A drag draws the part; each edge has a slider, and a button per aspect takes the
// largest part in the middle. Triggers: "applied": quarter
// turns to the right, and the part [left, top, right, bottom] of the turned picture, 0 to 1; "closed": nothing is done.
const LEAST = 0.02; // of a side

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector(".crop");
  root.send = setTriggerValue;
  say(root, data.words);
  if (root.shown === data.picture) return; // the part chosen so far stays
  root.shown = data.picture;
  const crop = { root, size: [data.width, data.height], canvas: root.querySelector("canvas"), image: new Image(), turns: 0 };
  crop.image.onload = () => turn(crop, 0);
  crop.image.src = data.picture;
  drag(crop);
  for (const input of root.querySelectorAll("input")) input.oninput = () => move(crop, Number(input.dataset.edge), input.value / 100);
  const acts = {
    left: () => turn(crop, 3),
    right: () => turn(crop, 1),
    reset: () => turn(crop, 4 - crop.turns),
    close: () => root.send("closed", true),
    apply: () => root.send("applied", { turns: crop.turns, box: crop.box }),
  };
  for (const button of root.querySelectorAll("[data-do]")) button.onclick = acts[button.dataset.do];
  for (const button of root.querySelectorAll("[data-aspect]")) button.onclick = () => fit(crop, ...button.dataset.aspect.split(":").map(Number));
}

function say(root, words) {
  for (const button of root.querySelectorAll("[data-do]")) button.textContent = words[button.dataset.do];
  root.querySelector(".fit span").textContent = words.fit;
  root.querySelector(".fit").setAttribute("aria-label", words.fit);
  root.querySelectorAll("label span").forEach((span, place) => {
    span.textContent = words.edges[place];
  });
  root.querySelector("canvas").setAttribute("aria-label", words.label);
  root.querySelector("canvas").setAttribute("role", "img");
}

function turn(crop, quarters) {
  const { canvas, image } = crop;
  crop.turns = (crop.turns + quarters) % 4;
  crop.box = [0, 0, 1, 1];
  const isAcross = crop.turns % 2 === 1;
  canvas.width = isAcross ? image.height : image.width;
  canvas.height = isAcross ? image.width : image.height;
  draw(crop);
}

function move(crop, edge, value) {
  const other = crop.box[(edge + 2) % 4];
  crop.box[edge] = edge < 2 ? Math.min(value, other - LEAST) : Math.max(value, other + LEAST);
  draw(crop);
}

function fit(crop, across, down) {
  const [width, height] = sides(crop);
  const cut = [Math.max(1, Math.min(width, Math.round((height * across) / down))), Math.max(1, Math.min(height, Math.round((width * down) / across)))];
  const [left, top] = [Math.floor((width - cut[0]) / 2), Math.floor((height - cut[1]) / 2)];
  crop.box = [left / width, top / height, (left + cut[0]) / width, (top + cut[1]) / height];
  draw(crop);
}

function sides({ turns, size }) {
  return turns % 2 ? [size[1], size[0]] : size;
}

function drag(crop) {
  const { canvas } = crop;
  let start;
  const at = (event) => {
    const frame = canvas.getBoundingClientRect();
    const part = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
    return part.map((value) => Math.min(1, Math.max(0, value)));
  };
  canvas.onpointerdown = (event) => {
    start = at(event);
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    if (!start) return;
    const end = at(event);
    const box = [0, 1].map((axis) => Math.min(start[axis], end[axis])).concat([0, 1].map((axis) => Math.max(start[axis], end[axis])));
    if (box[2] - box[0] < LEAST || box[3] - box[1] < LEAST) return;
    crop.box = box;
    draw(crop);
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    start = undefined;
  };
}

function draw(crop) {
  const { root, canvas, image, turns, box } = crop;
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  pen.setTransform(1, 0, 0, 1, width / 2, height / 2);
  pen.rotate((turns * Math.PI) / 2);
  pen.drawImage(image, -image.width / 2, -image.height / 2);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  const [left, top, right, bottom] = box.map((value, edge) => value * (edge % 2 ? height : width));
  pen.fillStyle = "#000a";
  pen.beginPath();
  pen.rect(0, 0, width, height);
  pen.rect(left, top, right - left, bottom - top);
  pen.fill("evenodd");
  pen.strokeStyle = "#fff";
  pen.lineWidth = Math.max(1, width / 400);
  pen.strokeRect(left, top, right - left, bottom - top);
  for (const input of root.querySelectorAll("input")) input.value = box[input.dataset.edge] * 100;
  const lengths = sides(crop);
  const cut = [0, 1].map((axis) => Math.round(box[axis + 2] * lengths[axis]) - Math.round(box[axis] * lengths[axis]));
  root.querySelector("output").textContent = `${cut[0]} × ${cut[1]} px`;
}
