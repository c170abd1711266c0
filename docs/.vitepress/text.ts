/** The anchor of a heading, as GitHub makes it: links with anchors work there and here. */
export function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replace(/\s/g, "-");
}

/**
 * What the search looks for: words, and each two neighbours in Japanese, which has no spaces. It is sent to the browser as text, so it
 * uses nothing from outside itself.
 */
export function tokensOf(text: string): string[] {
  // In English words a Japanese letter is the end: "IDと" are two.
  const runs =
    /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}ー々]+|(?:(?![\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}ー々])[\p{L}\p{N}_])+/gu;
  const words = text.toLowerCase().match(runs) ?? [];
  return words.flatMap((word) => {
    if (word.length < 3 || !/^[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}ー々]/u.test(word)) return [word];
    return Array.from({ length: word.length - 1 }, (_, index) => word.slice(index, index + 2));
  });
}

/** Says in a page's front matter what it is about, by its first paragraph, where the page does not say so itself. */
export function withDescription(text: string): string {
  if (text.startsWith("---\n")) return text;
  const [, paragraph] = /^# .+\n\n([A-Z`\p{L}][^\n]*(?:\n[^\n]+)*)/u.exec(text) ?? [];
  if (paragraph === undefined) return text;
  const plain = paragraph
    .replace(/\[([^\]]+)\]\([^)]*\)/g, "$1")
    .replace(/[`*]/g, "")
    .replace(/\s+/g, " ");
  const [sentence = plain] = /^.+?[.:](?= |$)/.exec(plain) ?? [];
  return `---\ndescription: ${JSON.stringify(sentence)}\n---\n\n${text}`;
}
