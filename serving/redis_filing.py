"""How each fact is filed in Redis: one script, by the rules of `sqlite_filing`."""

from __future__ import annotations

from serving.redis_reads import BEGIN
from serving.state import MOST_SHOWN

# ARGV[2]: the highest seq that the writer has seen; [3] max_customers; [4] do events link? "1";
# [5]: MessagePack, a list of calls, each a list of facts as `redis_facts.row` has them.
# Gives per call a list: 1 where a fact is new, else 0.
FILE = (
    BEGIN
    + f"""
if not stamp then call('SET', P .. 'stamp', ARGV[1]) end
local seq = math.max(tonumber(call('GET', P .. 'seq') or 0), tonumber(ARGV[2]))
local max_customers, links_from_events = tonumber(ARGV[3]), ARGV[4] == '1'
local top = tonumber(call('ZREVRANGE', P .. 'peaks', 0, 0, 'WITHSCORES')[2]) or -math.huge
local peaks, somebody_went = {{}}, call('EXISTS', P .. 'forgotten') == 1

local function know(name, hidden)
  if call('HSETNX', row_of(name), 'hidden', hidden) == 1 then call('SADD', P .. 'names', name) end
end

local function numbered(text)  -- so that what is of one moment keeps its order
  return place_of(call('INCR', P .. 'said')) .. text
end

local function keep(fact, moment)  -- `moment`: a model whose log ends before it follows from here
  seq = seq + 1
  call('HSET', P .. 'facts', place_of(seq), fact)
  if moment > top then
    top, peaks[math.floor(seq / BLOCK)] = moment, moment
  end
  return place_of(seq)
end

local function move(visitor, customer)
  local from, to = P .. 'events:v:' .. visitor, 'u:' .. customer
  local moved = call('ZRANGE', from, 0, -1, 'WITHSCORES')
  for n = 1, #moved, 2 do
    call('ZADD', P .. 'events:' .. to, moved[n + 1], moved[n])
    call('HSET', P .. 'whose', moved[n], to)
  end
  call('DEL', from)
end

local function stand(visitor)  -- work out anew whose a visitor is; once shared is always shared
  local row, ever, owner, since = row_of('v:' .. visitor), 0, false, false
  local links = call('HGETALL', P .. 'links:' .. visitor)
  for n = 1, #links, 2 do
    local linked, unlinked = string.match(links[n + 1], '^(%S+) (%S+)$')
    linked, unlinked, ever = tonumber(linked), tonumber(unlinked), ever + 1
    if not unlinked or linked > unlinked then
      if not since or linked > since or (linked == since and links[n] > owner) then
        owner, since = links[n], linked
      end
    end
  end
  local before = call('HMGET', row, 'customer', 'shared')
  local shared = before[2] == '1' or ever > max_customers
  local customer = not shared and owner
  call('HSET', row, 'shared', shared and '1' or '0', 'unlinked', owner and '0' or '1')
  if before[1] ~= customer then
    if before[1] then
      call('SREM', P .. 'devices:' .. before[1], visitor)
      call('HDEL', row, 'customer')
    end
    if customer then
      call('SADD', P .. 'devices:' .. customer, visitor)
      call('HSET', row, 'customer', customer)
    end
  end
  return customer
end

local function link(visitor, hidden_visitor, user, hidden_user, at, on)
  local key = P .. 'links:' .. visitor
  local linked, unlinked = at, not on and at
  local before = call('HGET', key, user)
  if before then
    linked, unlinked = string.match(before, '^(%S+) (%S+)$')
    linked, unlinked = tonumber(linked), tonumber(unlinked)
    if not on then unlinked = math.max(unlinked or 0, at)
    elseif not unlinked then linked = math.min(linked, at)
    elseif linked <= unlinked then
      if at == unlinked then linked = unlinked + 1 else linked = math.max(linked, at) end
    end
  end
  local ended = unlinked and string.format('%.0f', unlinked) or '-'
  call('HSET', key, user, string.format('%.0f', linked) .. ' ' .. ended)
  call('SADD', P .. 'visitors:' .. user, visitor)
  know('v:' .. visitor, hidden_visitor)
  know('u:' .. user, hidden_user)
  if stand(visitor) == user and on then move(visitor, user) end
end

local function file_event(fact, at, user, hidden_user, visitor, hidden_visitor, session, id)
  local customer, shared, person, hidden, both = false, false, false, false, false
  if visitor then
    local row = call('HMGET', row_of('v:' .. visitor), 'customer', 'shared')
    customer, shared = row[1], row[2] == '1'
  end
  if user then
    person, hidden = 'u:' .. user, hidden_user
    both = visitor and not shared and customer ~= user
  elseif customer then
    person = 'u:' .. customer
    hidden = call('HGET', row_of(person), 'hidden')
  elseif visitor then person, hidden = 'v:' .. visitor, hidden_visitor
  else person = 's:' .. session end
  if somebody_went and hidden then
    local gone = gone_us({{hidden, hidden_visitor or nil}})
    if gone and at <= gone then return 0 end
  end
  if id and call('SADD', P .. 'event_ids', id) == 0 then return 0 end
  local place = keep(fact, at)
  call('HSET', P .. 'whose', place, person)
  call('ZADD', P .. 'events:' .. person, at, place)
  if hidden then know(person, hidden) end
  if both and links_from_events then
    link(visitor, hidden_visitor, user, hidden_user, at, true)
  end
  return 1
end

local function call_by(name, called)  -- what a customer is called in decisions
  if called and call('HSETNX', P .. 'called', called, name) == 1 then
    local before = call('HGET', P .. 'calls', name)
    call('HSET', P .. 'calls', name, before and before .. ' ' .. called or called)
  end
end

local function was_shown(key, at, placement, decision_id)
  for _, one in ipairs(call('ZRANGEBYSCORE', key, at, at)) do
    local before = cjson.decode(string.sub(one, #place_of(0) + 1))
    if before[2] == placement and before[4] == decision_id then return true end
  end
end

local function forget_links(name)
  local id = string.sub(name, 3)
  if string.sub(name, 1, 1) == 'u' then
    for _, visitor in ipairs(call('SMEMBERS', P .. 'visitors:' .. id)) do
      call('HDEL', P .. 'links:' .. visitor, id)
    end
    call('DEL', P .. 'visitors:' .. id)
    return
  end
  for _, user in ipairs(call('HKEYS', P .. 'links:' .. id)) do
    call('SREM', P .. 'visitors:' .. user, id)
  end
  local customer = call('HGET', row_of(name), 'customer')
  if customer then call('SREM', P .. 'devices:' .. customer, id) end
  call('DEL', P .. 'links:' .. id)
end

local function forget_name(name, hidden, at)
  for _, place in ipairs(call('ZRANGE', P .. 'events:' .. name, 0, -1)) do
    local id = cjson.decode(call('HGET', P .. 'facts', place)).event_id
    if id then call('SREM', P .. 'event_ids', id) end
    call('HDEL', P .. 'facts', place)
    call('HDEL', P .. 'whose', place)
  end
  forget_links(name)
  for _, kind in ipairs({{'events:', 'answers:', 'shown:', 'mailed:'}}) do
    call('DEL', P .. kind .. name)
  end
  call('DEL', row_of(name))
  call('SREM', P .. 'names', name)
  call('HDEL', P .. 'met', name)
  for one in string.gmatch(call('HGET', P .. 'calls', name) or '', '%S+') do
    call('HDEL', P .. 'called', one)
  end
  call('HDEL', P .. 'calls', name)
  call('DEL', P .. 'answered:' .. name)
  local before = tonumber(call('HGET', P .. 'forgotten', hidden))
  if not before or before < at then call('HSET', P .. 'forgotten', hidden, at) end
  somebody_went = true
end

local function stays_away(name, hidden)
  return somebody_went and gone_us({{hidden}}) and call('EXISTS', row_of(name)) == 0
end

local filing = {{
  event = file_event,
  change = function(fact, at) keep(fact, at + 1) end,
  link = link,
  answer = function(fact, name, hidden)
    know(name, hidden)
    call('RPUSH', P .. 'answers:' .. name, numbered(fact))
  end,
  consent = function(name, hidden, word, at)
    know(name, hidden)
    local before = tonumber(call('HGET', row_of(name), 'said_us'))
    if not before or before <= at then
      call('HSET', row_of(name), 'personalise', word and '1' or '0', 'said_us', at)
    end
  end,
  forget = function(at, user, hidden_user, visitor, hidden_visitor)
    local names, hidden = names_of(user, hidden_user, visitor, hidden_visitor)
    for n, name in ipairs(names) do forget_name(name, hidden[n], at) end
  end,
  shown = function(fact, at, name, hidden, where)  -- `where`: shown, or mailed
    if stays_away(name, hidden) then return end
    local this, key = cjson.decode(fact), P .. where .. ':' .. name
    if was_shown(key, at, this[2], this[4]) then return end
    know(name, hidden)
    call('ZADD', key, at, numbered(fact))
    call('ZREMRANGEBYRANK', key, 0, {-MOST_SHOWN - 1})
  end,
  met = function(name, hidden, salt, called)
    if stays_away(name, hidden) then return end
    local before = call('HGET', P .. 'met', name)
    if not before then call('HSET', P .. 'met', name, salt)
    elseif not string.find(before, salt, 1, true) then
      local first = salt < before  -- the smallest is the one that all take
      call('HSET', P .. 'met', name, first and salt .. ' ' .. before or before .. ' ' .. salt)
    end
    call_by(name, called)
  end,
  call = function(name, hidden, salt, called)  -- who was met before there was `called`
    local salts = call('HGET', P .. 'met', name)
    if salts and string.find(salts, salt, 1, true) then call_by(name, called) end
  end,
}}

local told = {{}}
for n, facts in ipairs(cmsgpack.unpack(ARGV[5])) do
  told[n] = {{}}
  for place, fact in ipairs(facts) do
    told[n][place] = filing[fact[1]](unpack(fact, 2)) or 1
  end
end
call('SET', P .. 'seq', string.format('%.0f', seq))
for block, moment in pairs(peaks) do call('ZADD', P .. 'peaks', moment, block) end
return told
"""
)
