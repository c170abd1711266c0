// Looks at every page of a built site in a browser, on a phone's width and on a desk's, and follows its links.
import { serve } from "./serve.mjs";

/** @typedef {import("playwright-core").Browser} Browser */
/** @typedef {import("playwright-core").Page} Page */
/** @typedef {{ url: string, page: string, links: readonly string[], anchors: ReadonlySet<string>, code: readonly string[] }} Visit */

const PHONE = { width: 360, height: 740 };
const DESK = { width: 1280, height: 900 };

/** What is wider than the window, if anything is. @param {Page} page */
async function overflowOf(page) {
  return page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return undefined;
    const wide = [...document.querySelectorAll("body *")].findLast((element) => {
      const box = element.getBoundingClientRect();
      return box.width > 0 && box.right > width + 1;
    });
    return `${document.documentElement.scrollWidth} px, by <${wide?.tagName.toLowerCase()} class="${wide?.className}">`;
  });
}

/** Fetches what is shown only when it is scrolled to, too. @param {Page} page */
async function brokenImagesOf(page) {
  return page.evaluate(async () => {
    const images = [...document.images];
    const loaded = await Promise.all(
      images.map((image) =>
        image.decode().then(
          () => true,
          () => false,
        ),
      ),
    );
    return images.filter((_, index) => loaded[index] === false).map(({ src }) => src);
  });
}

/** @param {Page} page */
async function contentsOf(page) {
  return page.evaluate(() => ({
    links: [...document.querySelectorAll("a[href]")].map((link) => /** @type {HTMLAnchorElement} */ (link).href),
    anchors: [...document.querySelectorAll("[id]")].map(({ id }) => id),
    code: [...document.querySelectorAll("div[class*='language-'] pre code")].map(
      ({ textContent }) => textContent ?? "",
    ),
  }));
}

/** A page that writes down what goes wrong on it. @param {Browser} browser @param {string} origin */
async function openPage(browser, origin) {
  const page = await browser.newPage({ viewport: PHONE });
  /** @type {string[]} */
  const mistakes = [];
  page.on("console", (message) => {
    // A page that is missing is told by its status.
    if (message.type() === "error" && !message.text().includes("Failed to load resource"))
      mistakes.push(message.text());
  });
  page.on("pageerror", (error) => mistakes.push(String(error)));
  page.on("response", (response) => {
    if (response.status() >= 400 && !response.request().isNavigationRequest()) {
      mistakes.push(`${response.url()}: ${response.status()}`);
    }
  });
  await page.route("**/*", (route) => {
    if (new URL(route.request().url()).origin === origin || route.request().url().startsWith("data:"))
      return route.continue();
    mistakes.push(`asks another host: ${route.request().url()}`);
    return route.abort();
  });
  return { page, mistakes };
}

/**
 * Visits each page that is linked, beginning with the given ones.
 * @param {Browser} browser
 * @param {string} folder the built site
 * @param {string} base
 * @param {readonly string[]} starts paths below the base
 * @returns {Promise<{ visits: readonly Visit[], problems: readonly string[] }>}
 */
export async function crawl(browser, folder, base, starts) {
  const { url: root, close } = await serve(folder, base);
  const { page, mistakes } = await openPage(browser, new URL(root).origin);
  /** @type {Map<string, Visit>} */
  const visits = new Map();
  /** @type {string[]} */
  const problems = [];

  /** @param {string} url @param {string} from */
  async function visit(url, from) {
    const response = await page.goto(url, { waitUntil: "load" });
    const name = url.slice(root.length) || "/";
    if (response?.status() !== 200) {
      problems.push(`${from}: ${name} is missing`);
      visits.set(url, { url, page: name, links: [], anchors: new Set(), code: [] });
      return;
    }
    if (!(response.headers()["content-type"] ?? "").startsWith("text/html")) {
      visits.set(url, { url, page: name, links: [], anchors: new Set(), code: [] });
      return;
    }
    await page.evaluate(() => document.fonts.ready);
    for (const viewport of [DESK, PHONE]) {
      await page.setViewportSize(viewport);
      const overflow = await overflowOf(page);
      if (overflow !== undefined) problems.push(`${name}: at ${viewport.width} px it is ${overflow}`);
    }
    problems.push(...(await brokenImagesOf(page)).map((image) => `${name}: image ${image} is broken`));
    const { links, anchors, code } = await contentsOf(page);
    visits.set(url, { url, page: name, links, anchors: new Set(anchors), code });
    problems.push(...mistakes.splice(0).map((mistake) => `${name}: ${mistake}`));
  }

  try {
    const queue = starts.map((start) => ({ url: root + start, from: "the site map" }));
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (visits.has(next.url)) continue;
      await visit(next.url, next.from);
      const { page: from = "", links = [] } = visits.get(next.url) ?? {};
      const own = links.filter((link) => link.startsWith(new URL(root).origin));
      const outside = own.filter((link) => !link.startsWith(root));
      problems.push(...outside.map((link) => `${from}: ${new URL(link).pathname} is not below ${base}`));
      queue.push(
        ...own.filter((link) => link.startsWith(root)).map((link) => ({ url: link.split("#")[0] ?? "", from })),
      );
    }
    problems.push(...brokenAnchors(visits));
    return { visits: [...visits.values()], problems };
  } finally {
    await page.close();
    await close();
  }
}

/** @param {ReadonlyMap<string, Visit>} visits */
function brokenAnchors(visits) {
  return [...visits.values()].flatMap(({ page, links }) =>
    [...new Set(links)].flatMap((link) => {
      const [url = "", anchor = ""] = link.split("#");
      const target = visits.get(url);
      if (anchor === "" || target === undefined || target.anchors.has(decodeURIComponent(anchor))) return [];
      return [`${page}: ${target.page} has no #${decodeURIComponent(anchor)}`];
    }),
  );
}

/**
 * Searches as a reader does. Gives how many results are shown.
 * @param {Browser} browser
 * @param {string} folder
 * @param {string} base
 * @param {string} start a path below the base
 * @param {string} words
 */
export async function search(browser, folder, base, start, words) {
  const { url: root, close } = await serve(folder, base);
  const { page, mistakes } = await openPage(browser, new URL(root).origin);
  try {
    await page.setViewportSize(DESK);
    await page.goto(root + start, { waitUntil: "load" });
    await page.locator(".DocSearch-Button").first().click();
    await page.locator(".VPLocalSearchBox input").fill(words);
    const result = page.locator(".VPLocalSearchBox .result");
    await result
      .first()
      .waitFor({ timeout: 20_000 })
      .catch(() => undefined);
    const titles = await result.allInnerTexts();
    return { titles, mistakes: [...mistakes] };
  } finally {
    await page.close();
    await close();
  }
}
