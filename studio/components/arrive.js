// Scrolls down or up to where it is mounted, once for each id, and only where that is out of sight.
let last;

export default function ({ parentElement, data }) {
  if (last === data.id) return;
  last = data.id;
  const place = (parentElement.host ?? parentElement).getBoundingClientRect();
  if (place.top >= 0 && place.top < innerHeight * 0.7) return;
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  document.querySelector('[data-testid="stMain"]').scrollBy({ top: place.top - 60, behavior });
}
