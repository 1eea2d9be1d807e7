// One picture that changes often, without a flicker: the old one stays until the new one is there.
export default function ({ parentElement, data }) {
  const picture = parentElement.querySelector("img");
  if (picture.src !== data.picture) picture.src = data.picture;
  picture.alt = data.alt;
}
