// Scrolls to where it is mounted, when its place has another id than before, and only if that is out of sight. The page
// may still be drawn around it, so it looks again for some seconds, unless the reader does something.
const last = {}; // id by place
const LOOKS = 12;
const LOOK_EVERY = 250; // milliseconds
const INPUTS = ["wheel", "touchstart", "pointerdown", "keydown"];

export default function ({ parentElement, data }) {
  if (last[data.place] === data.id) return;
  last[data.place] = data.id;
  const host = parentElement.host ?? parentElement;
  let left = LOOKS;
  const stop = () => {
    left = 0;
  };
  for (const input of INPUTS) addEventListener(input, stop, { once: true, capture: true, passive: true });
  const look = () => {
    if (left <= 0 || last[data.place] !== data.id || bring(host)) return;
    left -= 1;
    setTimeout(look, LOOK_EVERY);
  };
  look();
}

// True if it had to scroll.
function bring(host) {
  const { top } = host.getBoundingClientRect();
  if (!host.isConnected || (top >= 0 && top < innerHeight * 0.7)) return false;
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  document.querySelector('[data-testid="stMain"]').scrollBy({ top: top - 60, behavior });
  return true;
}
