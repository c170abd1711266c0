// A Worker that makes the use whose name is its path. `modules.mjs` is written before this is bundled.
import { modules } from "./modules.mjs";
import { portable } from "./use-portable.mjs";

export default {
  async fetch(request) {
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    try {
      await portable[name](async (specifier) => modules[specifier]);
      return new Response("ok");
    } catch (error) {
      return new Response(String(error?.stack ?? error), { status: 500 });
    }
  },
};
