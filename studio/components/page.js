// What belongs to the page as a whole: its language, the id of this visit, keys, pasted and dropped pictures, the
// question before it is left, and the sign that an edit has ended. State "told": the id of the visit, kept by this tab
// alone, and where the page asks for it an id that the browser keeps for good.
const KEY = "imgedit-visit";
const BROWSER_KEY = "imgedit-browser";
const page = { data: {} };

export default function ({ data, setStateValue }) {
  const before = page.data;
  page.data = data;
  document.documentElement.lang = data.language;
  const told = { visit: visit(), browser: data.browser === null ? "" : browser() }; // together: one redraws the page
  if (data.visit !== told.visit || (data.browser ?? "") !== told.browser) setStateValue("told", told);
  if (data.notify && !before.notify && window.Notification?.permission === "default") Notification.requestPermission();
  if (before.is_busy && !data.is_busy) ended();
  if (page.is_listening) return;
  page.is_listening = true;
  addEventListener("beforeunload", (event) => page.data.is_busy && event.preventDefault());
  addEventListener("visibilitychange", () => document.hidden || untitle());
  addEventListener("keydown", key);
  addEventListener("paste", (event) => take(event, event.clipboardData));
  addEventListener("dragover", (event) => isDropped(event) && event.preventDefault());
  addEventListener("drop", (event) => isDropped(event) && take(event, event.dataTransfer));
}

function visit() {
  return kept(sessionStorage, KEY);
}

function browser() {
  return kept(localStorage, BROWSER_KEY);
}

function kept(storage, key) {
  let id = storage.getItem(key);
  if (!id) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    storage.setItem(key, id);
  }
  return id;
}

// Ctrl+Enter presses the main button; the text field gives up its text first.
function key(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  document.activeElement?.blur();
  setTimeout(() => document.querySelector(".st-key-edit button:enabled")?.click(), 100);
}

// Pictures go into the uploader, as if they were chosen there.
function take(event, transfer) {
  const pictures = Array.from(transfer?.files ?? []).filter((file) => file.type.startsWith("image/"));
  const input = document.querySelector('[class*="st-key-upload-"] input[type=file]');
  if (!pictures.length || !input) return;
  event.preventDefault();
  const given = new DataTransfer();
  for (const picture of pictures) given.items.add(picture);
  input.files = given.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

function isDropped(event) {
  const isFile = Array.from(event.dataTransfer?.types ?? []).includes("Files");
  return isFile && !event.target.closest?.('[data-testid="stFileUploaderDropzone"]'); // that one takes them itself
}

function ended() {
  if (!document.hidden) return;
  untitle();
  page.title = document.title;
  document.title = `✔ ${page.title}`;
  if (!page.data.notify) return;
  if (window.Notification?.permission === "granted") new Notification(page.title, { body: page.data.words.ended });
  const audio = new AudioContext();
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  volume.gain.value = 0.1;
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.2);
  tone.onended = () => audio.close();
}

function untitle() {
  if (page.title) document.title = page.title;
  page.title = undefined;
}
