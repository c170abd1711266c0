import { number } from "@mcp-tx/core/options";
import { type CallerSource, checkSource } from "./connection.js";
import { type Exchange, Front } from "./front.js";
import { allowOrigin, checkHost, checkOrigin, preflightHeaders } from "./guard.js";
import { canList } from "./offer.js";
import { readSettings, type Settings } from "./options.js";
import { problemResponse } from "./problem.js";
import { Refusal } from "./refusal.js";
import { allowOf, isRouted, pathOf, routeAt, routesAt } from "./routes.js";
import { unlistable } from "./toolbox.js";
import type { CloseOptions, HttpHandler, HttpHandlerOptions, RequestDetails, Route } from "./types.js";

const OWNER = "createHttpHandler";
const graceTime = number({ min: 0 }, 10_000);

/** Probes name the address of the pod, and learn one word. */
const FOR_PROBES: readonly (Route | undefined)[] = ["livez", "readyz"];

/** A response without its body, for HEAD. */
function withoutBody(response: Response): Response {
  return new Response(null, { status: response.status, headers: response.headers });
}

function preflight(request: Request, route: Route): Response {
  const allow = allowOf(route);
  return new Response(null, { status: 204, headers: { allow, ...preflightHeaders(request, allow) } });
}

/** Whether a request may do something here at all. @throws Refusal */
function checkMethod(request: Request, route: Route): void {
  const allow = allowOf(route);
  if (!allow.split(", ").includes(request.method)) throw new Refusal("method_not_allowed", { headers: { allow } });
}

function asRefusal(error: unknown): Refusal {
  return Refusal.isInstance(error) ? error : new Refusal("internal_error", { cause: error });
}

/** Turns requests into exchanges, and whatever happens to them into responses. */
class Router {
  readonly #front: Front;
  readonly #settings: Settings;

  constructor(front: Front, settings: Settings) {
    this.#front = front;
    this.#settings = settings;
  }

  /** Never rejects. */
  async fetch(request: Request, given: RequestDetails | undefined): Promise<Response> {
    const requestId = crypto.randomUUID();
    let route: Route | undefined;
    let origin: string | undefined;
    let response: Response;
    try {
      route = this.#routeOf(request);
      if (!FOR_PROBES.includes(route)) checkHost(request, this.#settings);
      origin = checkOrigin(request, this.#settings);
      if (route === undefined) throw new Refusal("not_found");
      response = await this.#respond({ request, given, route, requestId });
    } catch (error) {
      response = this.#problem(asRefusal(error), requestId, route);
    }
    const answer = request.method === "HEAD" ? withoutBody(response) : response;
    return origin === undefined ? answer : allowOrigin(answer, origin);
  }

  /** @throws Refusal */
  #routeOf(request: Request): Route | undefined {
    try {
      return routeAt(pathOf(request), this.#settings.basePath);
    } catch (cause) {
      // Requests of servers make their URL of what the client sent, when somebody asks.
      throw new Refusal("not_found", { cause });
    }
  }

  #respond(exchange: Exchange): Promise<Response> | Response {
    const { request, route } = exchange;
    if (request.method === "OPTIONS") return preflight(request, route);
    checkMethod(request, route);
    return this.#front.answer(exchange);
  }

  #problem(refusal: Refusal, requestId: string, route: Route | undefined): Response {
    return problemResponse(this.#front.told(refusal, requestId, route), refusal.details.headers);
  }
}

/**
 * Offers the tools of a caller over HTTP: `POST /execute-tool`, `GET /tools`, `/health`, `/livez`, `/readyz`, `/openapi.json`.
 *
 * @remarks
 * It is remote execution of tools: unless `hosts` says otherwise it answers requests that name a loopback host only, and whoever
 * opens it must say which `tools` may be called and, with `authorize`, by whom. Nothing of an error's own words gets into an answer.
 *
 * @param caller - what calls the tools, such as a client wrapped by `wrapClient()`, or a function that connects it, called when the
 *   first request needs it
 * @throws TypeError or RangeError at construction, naming the option
 */
export function createHttpHandler(caller: CallerSource, options: HttpHandlerOptions = {}): HttpHandler {
  checkSource(OWNER, caller);
  const settings = readSettings(options);
  const isUnlistable = typeof caller !== "function" && !canList(caller) && settings.listTools === undefined;
  if (isUnlistable && settings.offer.settings === undefined) throw unlistable();
  const front = new Front(caller, settings);
  const router = new Router(front, settings);
  return {
    fetch: (request, given) => router.fetch(request, given),
    routes: routesAt(settings.basePath),
    handles: (target, method) =>
      routeAt(pathOf(target), settings.basePath) !== undefined && (method === undefined || isRouted(method)),
    caller: () => front.connection.get(),
    close: async ({ graceMs }: CloseOptions = {}) => front.calls.close(graceTime(graceMs, `${OWNER}: graceMs`)),
  };
}
