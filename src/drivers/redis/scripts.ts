/**
 * The queue of a name in Redis, and the scripts that change it.
 *
 * One string is all that there is of a name: claims in the order in which they came, as lines. So a script
 * costs a read and a write, whatever it does, and what is done is done in one step:
 *
 *     newest token
 *     H id permits till token revision value      those that hold; till: server's ms, 0: as long as the key
 *     W id permits life alive fenced value        those that wait; alive: until then, 0: nobody asked yet
 *
 * A claim that is served by another's release is told by a message to its client; its first `life` is
 * short, so that one that is gone holds up the others for no longer. PUBLISH says whether anybody listens:
 * who cannot be told keeps the place and is passed over. A script may run twice with the same arguments.
 *
 * KEYS: the name's. ARGV: id of the claim, prefix of the channels of clients, how long to keep a state, the
 * channel of those who observe a leader or nothing; then what is said at each script. Ids begin with that of
 * their client and a dot. Reply: the last of ARGV, which names the call; status, token, ms left; then id and
 * token of each claim of the same client that was served as well. The number alone says that there is no more to say.
 */
import { script } from './commands.ts';

/** Of a reply; 0: it waits. */
export const HOLDS = 1;
export const GONE = -1;
export const FULL = -2;
/** In the place of the ms left: it does not wait first, nor near. */
export const FAR = -2;

const READ = `
local key, id, wake, keep, observers = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call = tonumber(ARGV[#ARGV])
local raw = redis.call('GET', key)
`;

// Most names are wanted by one at a time, and to take all apart costs several times as much as what is done. So
// those two are done first where nobody observes: they change the state as the long way would.

/** Takes with a number what nobody has and nobody waits for. */
const CLAIM_FREE = String.raw`
local newest = '0'
if raw then newest = string.match(raw, '^(%d+)\n$') end
if newest and ARGV[9] == '1' and observers == '' then
  local time, life = redis.call('TIME'), tonumber(ARGV[7])
  local micros = time[1] * 1000000 + time[2]
  local token = math.max(tonumber(newest) + 1, micros)
  local digits, till = string.format('%.0f', token), string.format('%.0f', math.floor(micros / 1000) + life)
  redis.call('SET', key, digits .. '\nH ' .. id .. ' ' .. ARGV[6] .. ' ' .. till .. ' ' .. digits .. ' ' .. digits ..
    ' ' .. ARGV[10] .. '\n', 'PX', keep)
  return { call, 1, token, 0 }
end
`;

/** Gives back what nobody else has or waits for. */
const RELEASE_ALONE = String.raw`
if raw and observers == '' then
  local newest, holder = string.match(raw, '^(%d+)\nH (%S+) [^\n]*\n$')
  if holder == id then
    if newest == '0' then redis.call('DEL', key)
    else redis.call('SET', key, newest .. '\n', 'PX', keep) end
    return call
  end
end
`;

const STATE = String.raw`
local last, holders, rest, least = 0, {}, '', math.huge
local dirty, changed, micros, served = false, false, nil, {}
local WAITER = '^W (%S+) (%d+) (%d+) (%d+) (%d) (%S*)\n()'

local function clientOf(claim) return string.match(claim, '^[^.]+') end
local function digits(number) return string.format('%.0f', number) end
local function waiter(claim, permits, life, alive, fenced, value)
  return 'W ' .. claim .. ' ' .. permits .. ' ' .. life .. ' ' .. digits(alive) .. ' ' .. fenced .. ' ' .. value .. '\n'
end
local function add(holder)
  holders[#holders + 1] = holder
  least = math.min(least, holder.permits)
end

if raw then
  local token, at = string.match(raw, '^(%d+)\n()')
  if not token then return redis.error_reply('QUORATE not written by these locks') end
  last = tonumber(token)
  while true do
    local h, permits, till, tok, rev, value, after =
      string.match(raw, '^H (%S+) (%d+) (%d+) (%d+) (%d+) (%S*)\n()', at)
    if not h then break end
    add({ id = h, permits = tonumber(permits), till = tonumber(till), token = tonumber(tok),
      rev = tonumber(rev), value = value })
    at = after
  end
  rest = string.sub(raw, at)
end

local function now()
  if not micros then
    local time = redis.call('TIME')
    micros = time[1] * 1000000 + time[2]
    for _, h in ipairs(holders) do
      if h.till == 0 then h.till = math.floor(micros / 1000) + math.max(redis.call('PTTL', key), 0) end
    end
  end
  return math.floor(micros / 1000)
end

local function keepIf(wanted)
  local all = holders
  holders, least = {}, math.huge
  for _, h in ipairs(all) do
    if wanted(h) then add(h) else dirty, changed = true, true end
  end
end
local function dropExpired()
  local time = now()
  keepIf(function(h) return h.till > time end)
end
local function held(claim)
  for _, h in ipairs(holders) do if h.id == claim then return h end end
end
local function placeOf(claim) return string.find(rest, 'W ' .. claim .. ' ', 1, true) end
local function room(permits) return #holders < math.min(least, permits) end
local function left()
  local till = math.huge
  for _, h in ipairs(holders) do till = math.min(till, h.till) end
  return till == math.huge and 0 or math.max(till - now(), 0)
end

local function nextToken(fenced)
  now()
  if fenced ~= '1' then return 0 end
  last = math.max(last + 1, micros)
  return last
end
local function hold(claim, permits, life, token, value)
  dirty, changed = true, true
  add({ id = claim, permits = permits, till = now() + life, token = token, rev = token, value = value })
end

-- Serves those whose turn has come; whether one has to wait on that can be told.
local function advance()
  if rest == '' then return false end
  dropExpired()
  local at, passed, blocked = 1, {}, false
  while true do
    local w, permits, life, alive, fenced, value, after = string.match(rest, WAITER, at)
    if not w then break end
    blocked = not room(tonumber(permits))
    if blocked then break end
    at, dirty, alive = after, true, tonumber(alive)
    if alive == 0 or alive > now() then
      local token, told = nextToken(fenced), true
      if clientOf(w) == clientOf(id) then
        served[#served + 1] = w
        served[#served + 1] = digits(token)
      else
        told = redis.call('PUBLISH', wake .. clientOf(w), 'g ' .. w .. ' ' .. digits(token)) > 0
      end
      if told then hold(w, tonumber(permits), tonumber(life), token, value)
      else
        if alive == 0 then alive = now() + tonumber(life) end
        passed[#passed + 1] = waiter(w, permits, life, alive, fenced, value)
      end
    end
  end
  if at > 1 then rest = table.concat(passed) .. string.sub(rest, at) end
  return blocked
end

local function store()
  if #holders == 0 and rest == '' then
    if last == 0 then redis.call('DEL', key)
    else redis.call('SET', key, digits(last) .. '\n', 'PX', keep) end
    return
  end
  local px, lines = tonumber(keep), { digits(last) .. '\n' }
  for _, h in ipairs(holders) do
    px = math.max(px, h.till - now() + 1000)
    lines[#lines + 1] = 'H ' .. h.id .. ' ' .. digits(h.permits) .. ' ' .. digits(h.till) .. ' ' ..
      digits(h.token) .. ' ' .. digits(h.rev) .. ' ' .. h.value .. '\n'
  end
  lines[#lines + 1] = rest
  redis.call('SET', key, table.concat(lines), 'PX', digits(px))
end
local function finish(status, token, ms)
  if #holders > 0 and dirty then now() end
  if dirty then store() end
  if changed and observers ~= '' then redis.call('PUBLISH', observers, '') end
  local reply = { call, status, digits(token), ms }
  for _, one in ipairs(served) do reply[#reply + 1] = one end
  return reply
end
`;

/** Claims. ARGV: `wait` or `try`, permits, life of a grant now, life of one later, fenced, value, most bytes. */
export const CLAIM = script(`${READ}${CLAIM_FREE}${STATE}
local mode, permits, fenced, value = ARGV[5], ARGV[6], ARGV[9], ARGV[10]
local mine = held(id)
if mine then return finish(1, mine.token, 0) end
if placeOf(id) then return finish(0, 0, -1) end
if mode == 'wait' and rest ~= '' then
  -- Those who wait look after the queue.
  if #raw > tonumber(ARGV[11]) then return finish(-2, 0, 0) end
  redis.call('APPEND', key, waiter(id, permits, ARGV[8], 0, fenced, value))
  return finish(0, 0, -1)
end
if #holders > 0 then dropExpired() end
if not advance() and room(tonumber(permits)) then
  local token = nextToken(fenced)
  hold(id, tonumber(permits), tonumber(ARGV[7]), token, value)
  return finish(1, token, 0)
end
if mode == 'try' then return finish(0, 0, 0) end
rest = rest .. waiter(id, permits, ARGV[8], 0, fenced, value)
dirty = true
return finish(0, 0, left())
`);

/** Gives a claim back, whether it holds or waits. */
export const RELEASE = script(`${READ}${RELEASE_ALONE}${STATE}
local place = placeOf(id)
if place then
  rest = string.sub(rest, 1, place - 1) .. string.sub(rest, string.find(rest, '\\n', place, true) + 1)
  dirty = true
else
  keepIf(function(h) return h.id ~= id end)
end
if not dirty then return finish(-1, 0, 0) end
advance()
return finish(1, 0, 0)
`);

/** Renews a claim, whether it holds or waits, and says which. ARGV: life. */
export const TOUCH = script(`${READ}${STATE}
local ttl = tonumber(ARGV[5])
local mine = held(id)
if mine and mine.till == 0 and #holders == 1 and rest == '' then
  redis.call('PEXPIRE', key, ttl)
  return finish(1, mine.token, ttl)
end
if not mine then
  local place = placeOf(id)
  if not place then return finish(-1, 0, 0) end
  local after = string.find(rest, '\\n', place, true) + 1
  local w, permits, life, _, fenced, value = string.match(rest, WAITER, place)
  local line = waiter(w, permits, life, now() + ttl, fenced, value)
  rest = string.sub(rest, 1, place - 1) .. line .. string.sub(rest, after)
  dirty = true
  advance()
  mine = held(id)
  if not mine then
    place = placeOf(id)
    return finish(0, 0, place == 1 and left() or place < 4096 and -1 or -2)
  end
end
local time = now()
mine.till = time + ttl
dirty = true
return finish(1, mine.token, ttl)
`);

/** Takes the name from its holders. Reply: how many in the place of ms; then id, token and value of each. */
export const EVICT = script(`${READ}${STATE}
dropExpired()
local taken = {}
keepIf(function(h)
  taken[#taken + 1] = h
  redis.call('PUBLISH', wake .. clientOf(h.id), 'x ' .. h.id)
  return false
end)
advance()
local reply = finish(1, 0, #taken)
for i, h in ipairs(taken) do
  table.insert(reply, 3 * i + 2, h.id)
  table.insert(reply, 3 * i + 3, digits(h.token))
  table.insert(reply, 3 * i + 4, h.value)
end
return reply
`);

/** Who holds and waits: id, token, revision, value, ms left, and 1 where it waits. */
export const INSPECT = script(`${READ}${STATE}
dropExpired()
local reply = { call }
local function tell(claim, token, rev, value, ms, waits)
  for _, one in ipairs({ claim, digits(token), digits(rev), value, ms, waits }) do reply[#reply + 1] = one end
end
for _, h in ipairs(holders) do tell(h.id, h.token, h.rev, h.value, h.till - now(), 0) end
local at = 1
while true do
  local w, _, _, alive, _, value, after = string.match(rest, WAITER, at)
  if not w then break end
  if tonumber(alive) == 0 or tonumber(alive) > now() then tell(w, 0, 0, value, 0, 1) end
  at = after
end
return reply
`);

/** Changes the value of a claim that holds. ARGV: value. */
export const PROCLAIM = script(`${READ}${STATE}
dropExpired()
local mine = held(id)
if not mine then return finish(-1, 0, 0) end
mine.value = ARGV[5]
mine.rev = math.max(mine.rev + 1, micros)
dirty, changed = true, true
return finish(1, mine.token, 0)
`);
