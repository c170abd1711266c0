// What a source imports, read from its text.

const IMPORT = /(?:\bfrom|\bimport)\s*\(?\s*["']([^"'()[\]]+)["']/g;

/** Comments that start a line, so that examples in TSDoc are not taken for code; globs in strings stay whole. */
export const withoutComments = (text) => text.replace(/^\s*\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
export const importsOf = (text) => [...withoutComments(text).matchAll(IMPORT)].map((match) => match[1] ?? "");
/** Whether code names a package, or an entry of it, as a module: by an import, or by a `require` that it makes itself. */
export const loads = (text, name) => [`"${name}"`, `"${name}/`].some((specifier) => text.includes(specifier));
export const packageNameOf = (specifier) => specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");

/** Every import that names a package. @param {readonly { file: string, text: string }[]} sources */
export function bareImports(sources) {
  return sources.flatMap(({ file, text }) =>
    importsOf(text)
      .filter((specifier) => !/^(?:node:|\.{1,2}(?:\/|$))/.test(specifier))
      .map((specifier) => ({ file, specifier })),
  );
}
