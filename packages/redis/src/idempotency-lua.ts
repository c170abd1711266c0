import { type Script, script } from "./connection.js";

/**
 * A record is a hash: s state, f fingerprint, t token, e epoch, l end of the lease, x expiry, w when it was sent, d where to,
 * o outcome. Times are milliseconds since the epoch with all their digits. Nothing is rolled back when a script fails half-way:
 * whatever can fail comes before the first write.
 */
const COMMON = `
local function number(text) if text == 'inf' then return math.huge end return tonumber(text) end
local function text(value) if value == math.huge then return 'inf' end return string.format('%.17g', value) end
local function clock() local time = redis.call('TIME') return time[1] * 1000 + time[2] / 1000 end
local function standing(now)
  local r = redis.call('HMGET', KEYS[1], 's', 'f', 't', 'e', 'l', 'x', 'w', 'd')
  local s = r[1]
  if not s then return nil, r end
  if s == 'pending' then
    if number(r[5]) <= now then s = 'unknown' end
  elseif s ~= 'unknown' and number(r[6]) <= now then
    s = nil
  end
  return s, r
end
local function record(s, r)
  return s, r[2], r[3], r[4], r[5], r[6] or 'inf', r[7], r[8], redis.call('HGET', KEYS[1], 'o')
end
`;

/**
 * Removes a field that no record has. It changes nothing, and is refused like any write: by a replica, which may not know yet what
 * became of a record, and by a master that is told not to take writes. A write that comes after it is taken by a server that is full:
 * there must be room for how a call ended, while new keys, whose claim begins with nothing, are refused.
 */
const REFUSE_UNLESS_WRITABLE = "redis.call('HDEL', KEYS[1], '')";

/** KEYS record, marker; ARGV token, fingerprint, lease, epoch, sentAtWall, storeId, takeover after "=" or "", sentTo if any. */
export const CLAIM: Script = script(`${COMMON}
local token, fingerprint = ARGV[1], ARGV[2]
if redis.call('GET', KEYS[2]) ~= ARGV[6] then return {-1} end
local now = clock()
local s, r = standing(now)
local won = not s
if s == 'pending' then
  won = r[3] == token
elseif s and s ~= 'done' and r[2] == fingerprint then
  won = '=' .. r[3] == ARGV[7] or (s == 'failed' and tonumber(ARGV[4]) > tonumber(r[4]))
end
if not won then
  ${REFUSE_UNLESS_WRITABLE}
  return {0, record(s, r)}
end
local lease = text(now + number(ARGV[3]))
if r[1] then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 's', 'pending', 'f', fingerprint, 't', token, 'e', ARGV[4], 'l', lease, 'w', ARGV[5])
if ARGV[8] then redis.call('HSET', KEYS[1], 'd', ARGV[8]) end
return {1, lease}`);

/** KEYS record; ARGV token, lease. */
export const EXTEND: Script = script(`${COMMON}
${REFUSE_UNLESS_WRITABLE}
local now = clock()
local s, r = standing(now)
if s ~= 'pending' or r[3] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'l', text(now + number(ARGV[2])))
return 1`);

/** The last moment that Redis takes for an expiry, with room to spare. What stands longer expires by its own field alone. */
const LAST_EXPIRY = "9e15";

/** Writes when a record is over, and lets the server remove it then. */
const LAST = `
local function last(expiry)
  redis.call('HSET', KEYS[1], 'x', text(expiry))
  if expiry < ${LAST_EXPIRY} then
    redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.ceil(expiry)))
  else
    redis.call('PERSIST', KEYS[1])
  end
end
`;

/** KEYS record; ARGV token, state, time to live, epoch or "", outcome if any. */
export const SETTLE: Script = script(`${COMMON}${LAST}
${REFUSE_UNLESS_WRITABLE}
local now = clock()
local s, r = standing(now)
if not s or r[3] ~= ARGV[1] then return 0 end
if s == 'done' or s == 'failed' then return 1 end
local epoch = ARGV[4] == '' and r[4] or ARGV[4]
if ARGV[5] then
  redis.call('HSET', KEYS[1], 's', ARGV[2], 'e', epoch, 'o', ARGV[5])
else
  redis.call('HSET', KEYS[1], 's', ARGV[2], 'e', epoch)
  redis.call('HDEL', KEYS[1], 'o')
end
if ARGV[2] == 'unknown' then return 1 end
last(now + number(ARGV[3]))
return 1`);

/** KEYS record; ARGV token. */
export const RELEASE: Script = script(`${COMMON}
${REFUSE_UNLESS_WRITABLE}
local s, r = standing(clock())
if not s then return 1 end
if r[3] ~= ARGV[1] or s == 'done' or s == 'failed' then return 0 end
redis.call('DEL', KEYS[1])
return 1`);

/** KEYS record; ARGV token, time to live. */
export const EXPIRE: Script = script(`${COMMON}${LAST}
${REFUSE_UNLESS_WRITABLE}
local now = clock()
local s, r = standing(now)
if (s ~= 'done' and s ~= 'failed') or r[3] ~= ARGV[1] then return 0 end
last(now + number(ARGV[2]))
return 1`);

/** KEYS record. */
export const GET: Script = script(`${COMMON}
local s, r = standing(clock())
if not s then return false end
return {record(s, r)}`);

/** KEYS record. Does to one record what time has done to it. */
export const TIDY: Script = script(`${COMMON}
local s, r = standing(clock())
if s == r[1] or not r[1] then return 0 end
if s then redis.call('HSET', KEYS[1], 's', s) else redis.call('DEL', KEYS[1]) end
return 1`);
