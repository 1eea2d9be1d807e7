// Two pictures of one size, one over the other; a slider says where one ends and the other begins.
export default function ({ parentElement, data }) {
  const find = (selector) => parentElement.querySelector(selector);
  const frame = find(".compare");
  const slider = find("input");
  for (const side of ["before", "after"]) {
    const picture = find(`.${side}`);
    if (picture.src !== data[side]) picture.src = data[side];
    picture.alt = data.words[side];
  }
  const fit = () => frame.style.setProperty("--ratio", find(".after").naturalWidth / find(".after").naturalHeight);
  find(".after").onload = fit;
  find(".left").textContent = data.words.before;
  find(".right").textContent = data.words.after;
  slider.setAttribute("aria-label", data.words.label);
  slider.oninput = () => frame.style.setProperty("--at", `${slider.value}%`);
}
