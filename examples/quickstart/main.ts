/** Real servers, real failures, and what mcp-tx makes of them. Start with `scenes.ts`. */

import { play } from "./play.js";
import { scenes } from "./scenes.js";

process.exitCode = await play(scenes);
