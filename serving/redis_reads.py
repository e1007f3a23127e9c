"""What the Redis state is asked: scripts that run inside Redis, one trip each, nothing in between.

The rules are those of `sqlite_reads`; one contract test holds both. Everything lies under one
prefix; docs/state.md has the keys. A *hidden* name is a pseudonym: scripts cannot make one, so each
name comes with its own, and a known name keeps it. Numbers are doubles here, so what a script
compares is exact between the years 1684 and 2255; facts are kept as they were told.

KEYS[1]: the prefix; ARGV[1]: the stamp, of which only one may write here.
"""

from __future__ import annotations

from serving.state import MOST_EVENTS, MOST_SHOWN

BLOCK = 1000  # facts of a page, and of an entry in `peaks`

BEGIN = f"""
local call, P = redis.call, KEYS[1]
local stamp = call('GET', P .. 'stamp')
if stamp and stamp ~= ARGV[1] then return redis.error_reply('FOREIGN ' .. stamp) end
local BLOCK = {BLOCK}

local function row_of(name) return P .. 'name:' .. name end
local function place_of(seq) return string.format('%015d', seq) end

local function gone_us(hidden)  -- the newest moment at which any of these was forgotten
  local newest = false
  for _, one in ipairs(hidden) do
    local at = tonumber(call('HGET', P .. 'forgotten', one))
    if at and (not newest or at > newest) then newest = at end
  end
  return newest
end

local function names_of(user, hidden_user, visitor, hidden_visitor)
  -- all names of one person now, the one that its events are filed under first; and the hidden
  local linked, shared, unlinked = false, false, false
  if visitor then
    local row = call('HMGET', row_of('v:' .. visitor), 'customer', 'shared', 'unlinked')
    linked, shared, unlinked = row[1], row[2] == '1', row[3] == '1'
  end
  local customer = user or linked
  local names, hidden, there = {{}}, {{}}, {{}}
  local function add(name, its)
    if there[name] then return end
    there[name] = true
    names[#names + 1] = name
    hidden[#hidden + 1] = its or call('HGET', row_of(name), 'hidden')
  end
  if customer then add('u:' .. customer, user and hidden_user) end
  local other = shared or unlinked or (linked and linked ~= customer)
  if visitor and not (customer and other) then add('v:' .. visitor, hidden_visitor) end
  if customer then
    for _, one in ipairs(call('SMEMBERS', P .. 'devices:' .. customer)) do add('v:' .. one) end
  end
  return names, hidden, shared, unlinked
end

local function facts_at(places)
  if #places == 0 then return {{}} end
  local found = {{}}
  for first = 1, #places, BLOCK do
    local last = math.min(first + BLOCK - 1, #places)
    for _, one in ipairs(call('HMGET', P .. 'facts', unpack(places, first, last))) do
      found[#found + 1] = one
    end
  end
  return found
end
"""

# ARGV[2]: MessagePack, a list of {user, hidden, visitor, hidden}, false where there is none.
# Gives per person {salt}, or {salt, names, rows of `name:`, shared, unlinked, gone_us, events,
# answers per name, shown per name, mailed per name}; those but answers have the newest first.
RECALL = (
    BEGIN
    + f"""
local function salt_of(name)
  local salts = name and call('HGET', P .. 'met', name)
  return salts and string.match(salts, '^%S+')
end

local function recall(user, hidden_user, visitor, hidden_visitor)
  local first = (user and 'u:' .. user) or (visitor and 'v:' .. visitor)
  local asked = {{}}
  if user then asked[1] = hidden_user end
  if visitor then asked[#asked + 1] = hidden_visitor end
  if not (user and call('EXISTS', row_of('u:' .. user)) == 1)
    and not (visitor and call('EXISTS', row_of('v:' .. visitor)) == 1)
    and not gone_us(asked) then return {{salt_of(first)}} end
  local names, hidden, shared, unlinked = names_of(user, hidden_user, visitor, hidden_visitor)
  local rows, answers, shown, mailed = {{}}, {{}}, {{}}, {{}}
  for n, name in ipairs(names) do
    rows[n] = call('HMGET', row_of(name), 'customer', 'personalise', 'said_us')
    answers[n] = call('LRANGE', P .. 'answers:' .. name, 0, -1)
    shown[n] = call('ZREVRANGE', P .. 'shown:' .. name, 0, {MOST_SHOWN - 1})
    mailed[n] = call('ZREVRANGE', P .. 'mailed:' .. name, 0, {MOST_SHOWN - 1})
  end
  local events = facts_at(call('ZREVRANGE', P .. 'events:' .. names[1], 0, {MOST_EVENTS - 1}))
  local gone = gone_us(hidden)
  return {{salt_of(names[1]), names, rows, shared and 1 or 0, unlinked and 1 or 0,
          gone and string.format('%.0f', gone), events, answers, shown, mailed}}
end

local told = {{}}
for n, person in ipairs(cmsgpack.unpack(ARGV[2])) do told[n] = recall(unpack(person)) end
return told
"""
)

# ARGV[2]: after which seq; [3]: how many. Gives {seq, under whom ("" of an item), fact, seq, …}.
SINCE = (
    BEGIN
    + """
local from, most, found = tonumber(ARGV[2]), tonumber(ARGV[3]), {}
local last = tonumber(call('GET', P .. 'seq') or 0)
while from < last and #found < 3 * most do
  local places = {}
  for one = from + 1, math.min(from + BLOCK, last) do places[#places + 1] = place_of(one) end
  local facts = call('HMGET', P .. 'facts', unpack(places))
  local whose = call('HMGET', P .. 'whose', unpack(places))
  for n, place in ipairs(places) do
    if facts[n] and #found < 3 * most then
      found[#found + 1], found[#found + 2], found[#found + 3] = place, whose[n] or '', facts[n]
    end
  end
  from = from + #places
end
return found
"""
)

# ARGV[2]: a moment. A peak is the newest moment of all facts up to the end of a block, so no fact
# before the block of the first peak after the moment is after it, whatever was forgotten since.
AFTER = (
    BEGIN
    + """
local moment, last = tonumber(ARGV[2]), tonumber(call('GET', P .. 'seq') or 0)
local block = call('ZRANGEBYSCORE', P .. 'peaks', '(' .. ARGV[2], '+inf', 'LIMIT', 0, 1)[1]
local one = block and math.max(tonumber(block) * BLOCK, 1) or last + 1
while one <= last do
  local places = {}
  for next = one, math.min(one + BLOCK - 1, last) do places[#places + 1] = place_of(next) end
  for n, fact in ipairs(call('HMGET', P .. 'facts', unpack(places))) do
    if fact then
      local told = cjson.decode(fact)
      local after = told.occurred_us or told.at_us + 1
      if after > moment then return one + n - 2 end
    end
  end
  one = one + #places
end
return last
"""
)

# ARGV[2]: below which seq; [3]: how many of each; [4...]: names. Gives per name the newest first.
TAIL = (
    BEGIN
    + """
local before, most, told = tonumber(ARGV[2]), tonumber(ARGV[3]), {}
for n = 4, #ARGV do
  local key, first, places = P .. 'events:' .. ARGV[n], 0, {}
  repeat
    local page = call('ZREVRANGE', key, first, first + BLOCK - 1)
    for _, place in ipairs(page) do
      if #places < most and tonumber(place) < before then places[#places + 1] = place end
    end
    first = first + BLOCK
  until #places >= most or #page < BLOCK
  told[n - 3] = facts_at(places)
end
return told
"""
)
