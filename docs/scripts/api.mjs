// The API reference: one page for each entry of each published package, out of its TSDoc, into `docs/api`.
// A link in a comment that leads nowhere is an error.
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Application, Converter, LogLevel, ReflectionKind, TSConfigReader } from "typedoc";
import { publishedPackages, ROOT, SOURCE_URL } from "./repository.mjs";

const WHOLE = "mcp-tx";
const OUT = fileURLToPath(new URL("../api", import.meta.url));

/** Lets every import of a package of ours, in whichever of them, mean its sources. */
function sourcePaths() {
  return Object.fromEntries(entries.map(({ specifier, source }) => [specifier, [source]]));
}

/** Where everything is declared before anything is exported once more: the whole comes last. */
const entries = [...publishedPackages()]
  .sort((left, right) => Number(left.name === WHOLE) - Number(right.name === WHOLE))
  .flatMap((published) => published.entries);

/** Calls each module what users import. @param {Application} app */
function nameModules(app) {
  const specifiers = new Map(entries.map(({ source, specifier }) => [source, specifier]));
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.children ?? []) {
      module.name = specifiers.get(module.sources?.[0]?.fullFileName ?? "") ?? module.name;
    }
  });
}

/** A link to the source for each export is enough: none for its members. @param {Application} app */
function sourcesOfExportsOnly(app) {
  app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    for (const reflection of Object.values(project.reflections)) {
      const owner = reflection.kindOf(ReflectionKind.SomeSignature) ? reflection.parent?.parent : reflection.parent;
      if (owner?.kindOf(ReflectionKind.Module) !== true && "sources" in reflection) delete reflection.sources;
    }
  });
}

/** Options of the Markdown plugin, which TypeDoc's types do not know. */
const markdown = {
  router: "module",
  entryFileName: "index",
  excludeScopesInPaths: true,
  hideBreadcrumbs: true,
  hidePageHeader: true,
  useCodeBlocks: true,
  expandObjects: true,
  parametersFormat: "table",
  interfacePropertiesFormat: "table",
  tableColumnSettings: { hideSources: true, hideModifiers: true },
  sanitizeComments: true,
  useCustomAnchors: true,
  customAnchorsFormat: "curlyBrace",
};

const app = await Application.bootstrapWithPlugins(
  {
    ...markdown,
    plugin: ["typedoc-plugin-markdown"],
    entryPoints: entries.map(({ source }) => source),
    tsconfig: fileURLToPath(new URL("../tsconfig.api.json", import.meta.url)),
    compilerOptions: { paths: sourcePaths() },
    basePath: ROOT,
    out: OUT,
    name: "API reference",
    readme: "none",
    excludePrivate: true,
    excludeInternal: true,
    excludeExternals: true,
    sourceLinkTemplate: `${SOURCE_URL}/blob/main/{path}#L{line}`,
    sort: ["source-order"],
    groupOrder: ["Functions", "Classes", "Interfaces", "*"],
    validation: { invalidLink: true, invalidPath: true, notExported: false, notDocumented: false },
    logLevel: LogLevel.Warn,
  },
  [new TSConfigReader()],
);
nameModules(app);
sourcesOfExportsOnly(app);
rmSync(OUT, { recursive: true, force: true });
const project = await app.convert();
if (project === undefined) process.exit(1);
await app.generateOutputs(project);
// What validation finds are links that lead nowhere; other remarks of TypeDoc are only shown.
const remarks = app.logger.warningCount;
app.validate(project);
const broken = app.logger.warningCount - remarks;
if (app.logger.hasErrors() || broken > 0) {
  process.stderr.write(`api: ${broken} links in comments lead nowhere\n`);
  process.exit(1);
}
