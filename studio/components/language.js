// The language of the page, for screen readers and hyphenation.
export default function ({ data }) {
  document.documentElement.lang = data.language;
}
