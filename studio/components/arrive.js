// Scrolls down or up to where it is mounted, when its place has another id than before, and only out of sight.
const last = {}; // id by place

export default function ({ parentElement, data }) {
  if (last[data.place] === data.id) return;
  last[data.place] = data.id;
  const place = (parentElement.host ?? parentElement).getBoundingClientRect();
  if (place.top >= 0 && place.top < innerHeight * 0.7) return;
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  document.querySelector('[data-testid="stMain"]').scrollBy({ top: place.top - 60, behavior });
}
