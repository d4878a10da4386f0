/**
 * How limits count in Redis: one script for each algorithm, the same ways as `src/resilience/limit-algorithm.ts`, by the time of
 * the server. Times are whole microseconds; what is rounded is rounded against the caller.
 *
 * ARGV: what to do, then for `take` the rate (three numbers, see `argumentsOf`), the cost, the most, and the longest wait; the
 * last one names the call and is the first value of the reply. Numbers that may be fractions travel as text, as Redis cuts them.
 *
 * Scripts are sent again where the reply was lost on the way to the client: then it counts twice, never not at all.
 */
import type { ClusterAlgorithm } from '../../resilience/cluster/limit-store.ts';
import { type Script, script } from './commands.ts';

/**
 * Keys whose state is one short text of numbers: `take` and `usage` come from the algorithm. It goes when it says nothing any
 * more. `undo` gives back what was taken where the state is still the one that taking left, and its time has not come.
 */
const TEXT = `local call = tonumber(ARGV[#ARGV])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local had = redis.call('GET', KEYS[1])
local function text(n) return string.format('%.17g', n) end
local function put(state, idle)
  local left = math.ceil((idle - now) / 1000)
  if left > 0 then redis.call('SET', KEYS[1], state, 'PX', string.format('%.0f', left + 1))
  elseif had then redis.call('DEL', KEYS[1]) end
end
local function bad() return redis.error_reply('QUORATE not the state of a limit under this key') end
if ARGV[1] == 'undo' then
  if had ~= ARGV[2] or now >= tonumber(ARGV[4]) then return {call, 0} end
  put(ARGV[3], tonumber(ARGV[5]))
  return {call, 1}
end
local limit, a, b = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local cost, most, longest = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local function took(amount, wait, state, idle, before, idle_before)
  put(state, idle)
  -- What is taken now cannot be given back.
  if wait <= 0 then return {call, text(amount), '0'} end
  return {call, text(amount), text(wait), state, before, text(now + wait), text(idle_before)}
end
`;

/** GCRA: the state is the moment at which the bucket is full again, whole and fraction. a: between two tokens. b: the burst. */
const BUCKET = `local interval, ahead = a, b
local full = 0
if had then
  local whole, part = had:match('^(%d+) (%S+)$')
  if not whole then return bad() end
  full = math.max(0, (whole - now) + part)
end
if ARGV[1] == 'usage' then
  return {call, text(math.max(0, limit - math.max(0, full - 0.002) / interval)), text(full)}
end
local wait = math.ceil(full + cost * interval - ahead)
if wait > longest and wait > 0 then return {call, '0', text(wait)} end
local amount = cost
if wait <= 0 then
  wait = 0
  if most > cost then
    local room = math.min(most, math.floor((ahead - full) / interval))
    if room > cost and full + room * interval <= ahead then amount = room end
  end
end
local after = full + amount * interval
local whole = math.floor(after)
local state = string.format('%.0f %.17g', now + whole, after - whole)
return took(amount, wait, state, now + after, had or '', now + full)`;

/** The state is the number of a window, and what was taken in it. a: the period. */
const FIXED = `local period = a
local row, taken = 0, 0
if had then
  local r, t = had:match('^(%d+) (%S+)$')
  if not r then return bad() end
  row, taken = tonumber(r), tonumber(t)
end
local function used_in(window) return math.max(0, taken - limit * (window - row)) end
local function idle_at() return taken == 0 and 0 or (row + math.ceil(taken / limit)) * period end
local window = math.floor(now / period)
local used = used_in(window)
if ARGV[1] == 'usage' then
  return {call, text(math.max(0, limit - used)), text(math.max(0, idle_at() - now))}
end
local at = now
if used + cost > limit then
  local full = math.floor(used / limit)
  if used - full * limit + cost > limit then full = full + 1 end
  at = math.max(now, (window + full) * period)
end
local wait = at - now
if wait > longest and wait > 0 then return {call, '0', text(wait)} end
local amount = cost
if wait == 0 and most > cost then amount = math.max(cost, math.min(most, math.floor(limit - used))) end
local idle_before = idle_at()
local into = math.floor(at / period)
taken = used_in(into) + amount
row = into
local state = string.format('%.0f %.17g', row, taken)
return took(amount, wait, state, idle_at(), had or '', idle_before)`;

/** The state is the number of a window, what was taken in it and in the one before. a: the period. */
const COUNTER = `local period = a
local row, taken, before = 0, 0, 0
if had then
  local r, t, f = had:match('^(%d+) (%S+) (%S+)$')
  if not r then return bad() end
  row, taken, before = tonumber(r), tonumber(t), tonumber(f)
end
local window = math.max(row, math.floor(now / period))
local used, last = 0, 0
if window == row then used, last = taken, before elseif window == row + 1 then last = taken end
local function idle_at() return (taken == 0 and before == 0) and 0 or (row + 2) * period end
local function remaining()
  if window * period > now then return 0 end
  return math.max(0, limit - used - last * (1 - (now - window * period) / period))
end
if ARGV[1] == 'usage' then return {call, text(remaining()), text(math.max(0, idle_at() - now))} end
local begins, free, counted = window, limit - used - cost, last
if free < 0 then begins, free, counted = window + 1, limit - cost, used end
local part = 0
if counted > free then part = 1 - free / counted end
local at = math.max(now, begins * period + math.ceil(part * period))
local wait = at - now
if wait > longest and wait > 0 then return {call, '0', text(wait)} end
local amount = cost
if wait == 0 and most > cost then amount = math.max(cost, math.min(most, math.floor(remaining()))) end
local idle_before = idle_at()
local into = math.max(row, math.floor(at / period))
if into == row + 1 then before, taken = taken, 0
elseif into > row then before, taken = 0, 0 end
row = into
taken = taken + amount
local state = string.format('%.0f %.17g %.17g', row, taken, before)
return took(amount, wait, state, idle_at(), had or '', idle_before)`;

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
-- The server's clock may have gone back.
at = math.max(at, till - period)
local wait = at - now
if wait > longest and wait > 0 then return {call, '0', text(wait)} end
local amount = cost
if wait == 0 and most > cost then amount = math.max(cost, math.min(most, room())) end
till = at + period
total = total + amount
redis.call('ZADD', key, whole(total), whole(till))
local forgotten = math.max(0, total - 2 * limit)
redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(forgotten))
redis.call('ZADD', key, whole(forgotten), '0')
redis.call('PEXPIRE', key, whole(math.ceil((till - now) / 1000) + 1))
if wait <= 0 then return {call, text(amount), '0'} end
return {call, text(amount), text(wait), whole(amount), whole(till), whole(total), text(at)}`;

/** Each way to count. */
export const SCRIPTS: Readonly<Record<ClusterAlgorithm, Script>> = {
  'token-bucket': script(TEXT + BUCKET),
  'sliding-window': script(SLIDING),
  'sliding-counter': script(TEXT + COUNTER),
  'fixed-window': script(TEXT + FIXED),
};

/** A key is as if it was never used. */
export const FORGET: Script = script(`redis.call('DEL', KEYS[1])
return tonumber(ARGV[#ARGV])`);
