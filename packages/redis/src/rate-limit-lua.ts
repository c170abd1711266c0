import { type Script, script } from "./connection.js";

/**
 * GCRA (ITU-T I.371) with the server's clock. A key holds "at debt pausedUntil": when it was written and until when nothing is let
 * through, in microseconds since the epoch, and in milliseconds how long it took from then on until all tokens were back. That debt
 * is a small number and so an exact one, which the moment at which it ends, as a number of milliseconds since the epoch, would not be.
 * A clock that was set back neither grants nor costs anything: what is left counts from what it reads now.
 */
const COMMON = `
local function load()
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local held = redis.call('GET', KEYS[1])
  if not held then return now, 0, 0 end
  local at, debt, paused = string.match(held, '^(%S+) (%S+) (%S+)$')
  at, debt, paused = tonumber(at), tonumber(debt), tonumber(paused)
  if now < at then return now, debt, math.max(0, paused - (at - now)), true end
  return now, math.max(0, debt - (now - at) / 1000), paused
end
local function save(now, debt, paused)
  local left = math.max(debt, (paused - now) / 1000)
  if left <= 0 then redis.call('DEL', KEYS[1]) return end
  local state = string.format('%.0f %.17g %.0f', now, debt, paused)
  redis.call('SET', KEYS[1], state, 'PX', string.format('%.0f', math.min(math.ceil(left) + 1, 4e15)))
end
`;

/** Debts closer than this are the same: what rounding may make of them. */
const ROUNDING = "math.max(1e-6, burst * 1e-15)";

/** KEYS limit; ARGV what the tokens are worth in milliseconds, and a full burst. Gives the milliseconds to wait. */
export const TAKE: Script = script(`${COMMON}
local burst = tonumber(ARGV[2])
local now, debt, paused, stepped = load()
local taken = debt + tonumber(ARGV[1])
local wait = math.max(taken - burst, (paused - now) / 1000)
if wait > ${ROUNDING} then
  if stepped then save(now, debt, paused) end
  return string.format('%.17g', wait)
end
save(now, taken, paused)
return '0'`);

/**
 * KEYS limit; ARGV what the tokens are worth in milliseconds, and the age of the take. Nothing was taken during a pause: what was
 * taken before its end was taken before it, and the pause has swallowed that.
 */
export const REFUND: Script = script(`${COMMON}
local worth = tonumber(ARGV[1]) - tonumber(ARGV[2])
local now, debt, paused = load()
if worth <= 0 or now - tonumber(ARGV[2]) * 1000 < paused then return 0 end
save(now, math.max(0, debt - worth), paused)
return 1`);

/** KEYS limit; ARGV milliseconds of the pause, and from no token left but one to a full burst. */
export const PAUSE: Script = script(`${COMMON}
local length = math.min(tonumber(ARGV[1]), 3e12)
local now, debt, paused = load()
local until_ = now + length * 1000
if until_ <= paused then return 0 end
save(now, math.max(debt, length + tonumber(ARGV[2])), until_)
return 1`);
