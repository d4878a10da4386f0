/**
 * How limits count in Redis: one script for each algorithm, the same ways as `src/resilience/limit-algorithm.ts`, by the time of
 * the server. Times are whole microseconds; what is rounded is rounded against the caller.
 *
 * ARGV: what to do, then for `take` the rate (three numbers, see `wordsOf`), the cost, the most, and the longest wait; the
 * last one names the call and is the first value of the reply. Fractions travel as text, as Redis cuts numbers.
 *
 * Scripts are sent again where the reply was lost on the way to the client: then it counts twice, never not at all.
 */
import type { ClusterAlgorithm } from '../../resilience/limiter.ts';
import { type Script, script } from './commands.ts';

const FOREIGN = 'QUORATE not the state of a limit under this key';

/**
 * Keys whose state is two or three numbers, packed into a string: `read`, `usage` and `take` come from the algorithm, which leaves the
 * numbers in `x`, `y`, `z`, and in `idle` from when on they say nothing: then the key goes. `undo` gives back what was taken where the
 * state is still the one that taking left, and its time has not come. What most questions need is written first, and without
 * functions: they cost as much as the counting.
 */
const packed = (
  form: string,
  { read, usage, take }: { readonly read: string; readonly usage: string; readonly take: string },
): string => `local call = tonumber(ARGV[#ARGV])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local had = redis.call('GET', KEYS[1])
local limit, a, b = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local x, y, z, idle = 0, 0, 0, 0
if had then
  local fits = #had == struct.size('${form}')
  if fits then
    x, y, z = struct.unpack('${form}', had)
    fits = x >= 0 and x <= 2^53 and x % 1 == 0 and y >= 0 and y <= 2^53 and z >= 0 and z <= 2^53
  end
  if not fits then return redis.error_reply('${FOREIGN}') end
end
if ARGV[1] == 'take' then
  local cost, most, longest = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local amount, wait = cost, 0
  local x0, y0, z0 = x, y, z
  ${read}
  local idle0 = idle
  ${take}
  redis.call('SET', KEYS[1], struct.pack('${form}', x, y, z), 'PX', math.max(1, math.ceil((idle - now) / 1000) + 1))
  -- What is taken now cannot be given back.
  if wait == 0 and amount % 1 == 0 then return {call, amount, 0} end
  if wait == 0 then return {call, string.format('%.17g', amount), 0} end
  local words = {x, y, z, x0, y0, z0, now + wait, idle0}
  for i = 1, 8 do words[i] = string.format('%.17g', words[i]) end
  return {call, string.format('%.17g', amount), wait, unpack(words)}
end
if ARGV[1] == 'usage' then
  ${read}
  ${usage}
  return {call, string.format('%.17g', math.max(0, left)), string.format('%.17g', math.max(0, idle - now))}
end
local n = {}
for i = 2, 9 do n[i - 1] = tonumber(ARGV[i]) end
if had ~= struct.pack('${form}', n[1], n[2], n[3]) or now >= n[7] then return {call, 0} end
if n[8] <= now then redis.call('DEL', KEYS[1])
else redis.call('SET', KEYS[1], struct.pack('${form}', n[4], n[5], n[6]), 'PX', math.ceil((n[8] - now) / 1000) + 1) end
return {call, 1}`;

/** GCRA: the state is the moment at which the bucket is full again, whole and fraction. a: between two tokens. b: the burst. */
const BUCKET = packed('>dd', {
  read: `local full = math.max(0, (x - now) + y)
  idle = now + full`,
  usage: `local left = limit - math.max(0, full - 0.002) / a`,
  take: `wait = math.max(0, math.ceil(full + cost * a - b))
  if wait > longest then return {call, 0, wait} end
  if wait == 0 and most > cost then
    local room = math.min(most, math.floor((b - full) / a))
    if room > cost and full + room * a <= b then amount = room end
  end
  local after = full + amount * a
  local whole = math.floor(after)
  x, y, idle = now + whole, after - whole, now + after`,
});

/** The state is the beginning of a window, and what was taken in it, which may be more than one has room for. a: the period. */
const FIXED = packed('>dd', {
  read: `local window = math.floor(now / a)
  local last = math.floor(x / a)
  local used = math.max(0, y - limit * (window - last))
  if y > 0 then idle = (last + math.ceil(y / limit)) * a end`,
  usage: `local left = limit - used`,
  take: `if used + cost > limit then
    local full = math.floor(used / limit)
    if used - full * limit + cost > limit then full = full + 1 end
    wait = math.max(0, (window + full) * a - now)
    if wait > longest then return {call, 0, wait} end
  end
  if wait == 0 and most > cost then amount = math.max(cost, math.min(most, math.floor(limit - used))) end
  local into = math.floor((now + wait) / a)
  x, y = into * a, math.max(0, y - limit * (into - last)) + amount
  idle = (into + math.ceil(y / limit)) * a`,
});

/** The state is the beginning of a window, what was taken in it and in the one before. a: the period. */
const COUNTER = packed('>ddd', {
  read: `local counted = math.floor(x / a)
  local window = math.max(counted, math.floor(now / a))
  local used, last = 0, 0
  if window == counted then used, last = y, z elseif window == counted + 1 then last = y end
  if y > 0 or z > 0 then idle = (counted + 2) * a end
  local room = 0
  if window * a <= now then room = limit - used - last * (1 - (now - window * a) / a) end`,
  usage: `local left = room`,
  take: `local begins, free, before = window, limit - used - cost, last
  if free < 0 then begins, free, before = window + 1, limit - cost, used end
  local part = 0
  if before > free then part = 1 - free / before end
  wait = math.max(0, begins * a + math.ceil(part * a) - now)
  if wait > longest then return {call, 0, wait} end
  if wait == 0 and most > cost then amount = math.max(cost, math.min(most, math.floor(room))) end
  local into = math.max(counted, math.floor((now + wait) / a))
  if into == counted + 1 then y, z = 0, y elseif into > counted then y, z = 0, 0 end
  x, y = into * a, y + amount
  idle = (into + 2) * a`,
});

/**
 * A sorted set of the last units: the score counts all that were ever taken, up to this one; the member is the moment until which they
 * count. Twice the limit is kept, so that it can be given back; the first member, which counts until 0, says what is forgotten. a: the
 * period.
 */
const SLIDING = `local call = tonumber(ARGV[#ARGV])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local key = KEYS[1]
local function text(n) return string.format('%.17g', n) end
local function whole(n) return string.format('%.0f', n) end
local newest = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
local till, total = tonumber(newest[1] or 0), tonumber(newest[2] or 0)
if not till or (newest[1] and not redis.call('ZSCORE', key, '0')) then
  return redis.error_reply('${FOREIGN}')
end
if ARGV[1] == 'undo' then
  local limit, cost = tonumber(ARGV[2]), tonumber(ARGV[3])
  if ARGV[4] ~= whole(till) or ARGV[5] ~= whole(total) or now >= tonumber(ARGV[6]) then return {call, 0} end
  local left = total - cost
  local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if tonumber(oldest[2]) > math.max(0, left - limit) then return {call, 0} end
  local before = redis.call('ZREVRANGE', key, 1, 1, 'WITHSCORES')
  if tonumber(before[2]) == left then redis.call('ZREM', key, newest[1])
  else redis.call('ZADD', key, whole(left), newest[1]) end
  return {call, 1}
end
local limit, period = tonumber(ARGV[2]), tonumber(ARGV[3])
local function room()
  -- By halves: the first that counts still.
  local low, high = 0, redis.call('ZCARD', key)
  local over = 0
  while low < high do
    local middle = math.floor((low + high) / 2)
    local one = redis.call('ZRANGE', key, middle, middle, 'WITHSCORES')
    if tonumber(one[1]) <= now then low, over = middle + 1, tonumber(one[2]) else high = middle end
  end
  return math.max(0, math.min(limit, limit - (total - over)))
end
if ARGV[1] == 'usage' then return {call, text(room()), text(math.max(0, till - now))} end
local cost, most, longest = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local at = now
if total + cost > limit then
  local last = redis.call('ZRANGEBYSCORE', key, whole(total + cost - limit), '+inf', 'LIMIT', 0, 1)
  at = math.max(now, tonumber(last[1]))
end
local wait = at - now
if wait > 0 and wait > longest then return {call, 0, wait} end
local amount = cost
if wait == 0 and most > cost then amount = math.max(cost, math.min(most, room())) end
-- Members are in the order of scores, also where the server's clock went back, or the period was longer.
till = math.max(till, at + period)
total = total + amount
redis.call('ZADD', key, whole(total), whole(till))
local forgotten = math.max(0, total - 2 * limit)
redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(forgotten))
redis.call('ZADD', key, whole(forgotten), '0')
redis.call('PEXPIRE', key, whole(math.ceil((till - now) / 1000) + 1))
if wait <= 0 then return {call, amount, 0} end
return {call, amount, wait, whole(amount), whole(till), whole(total), text(at)}`;

/** Each way to count. */
export const SCRIPTS: Readonly<Record<ClusterAlgorithm, Script>> = {
  'token-bucket': script(BUCKET),
  'sliding-window': script(SLIDING),
  'sliding-counter': script(COUNTER),
  'fixed-window': script(FIXED),
};

/** A key is as if it was never used. */
export const FORGET: Script = script(`redis.call('DEL', KEYS[1])
return tonumber(ARGV[#ARGV])`);
