// Pictures to choose from. Trigger "picked": the id of the chosen one.
export default function ({ parentElement, data, setTriggerValue }) {
  const gallery = parentElement.querySelector(".gallery");
  gallery.setAttribute("aria-label", data.label);
  gallery.style.setProperty("--side", data.side);
  gallery.pick = (id) => setTriggerValue("picked", id);
  const items = JSON.stringify(data.items);
  if (gallery.items === items) return; // drawn already: the focus stays where it is
  gallery.items = items;
  gallery.replaceChildren(
    ...data.items.map((item) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = item.title;
      button.setAttribute("aria-label", item.title);
      if (item.chosen !== undefined) button.setAttribute("aria-pressed", String(item.chosen));
      button.append(item.icon ? icon(item.icon) : picture(item.picture));
      if (item.caption) {
        const caption = document.createElement("span");
        caption.textContent = item.caption;
        button.append(caption);
      }
      button.onclick = () => gallery.pick(item.id);
      return button;
    }),
  );
}

function picture(source) {
  const image = document.createElement("img");
  image.src = source;
  image.alt = "";
  return image;
}

function icon(name) {
  const sign = document.createElement("i");
  sign.textContent = name; // a ligature of the font
  sign.setAttribute("aria-hidden", "true");
  return sign;
}
