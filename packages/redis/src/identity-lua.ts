import { type Script, script } from "./connection.js";

/**
 * KEYS marker; ARGV what it is expected to hold, "" for nothing, and what to put there instead, "" to read only. Gives what it holds
 * then, and its name as the server knows it: a driver may put something before it.
 */
export const MARKER: Script = script(`
local id = redis.call('GET', KEYS[1]) or ''
if ARGV[2] ~= '' and id == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  id = ARGV[2]
end
return {id, KEYS[1]}`);
