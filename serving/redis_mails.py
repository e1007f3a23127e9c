"""What mails ask of the Redis state, by the rules of `sqlite_mails`: scripts, one trip each."""

from __future__ import annotations

from serving.redis_reads import BEGIN

# ARGV[2]: a pseudonym. Gives the marked customer, or nothing.
WHOSE = BEGIN + "return call('HGET', P .. 'called', ARGV[2])"

_SAID = """
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = P .. 'answered:' .. ARGV[2]

local function said_before(mailing, microseconds)  -- a clock set back makes nothing younger
  local found = call('HGET', kept, mailing)
  local at = found and tonumber(string.match(found, '^%d+'))
  if at and math.abs(at - now) < microseconds then
    return string.sub(found, string.find(found, ' ', 1, true) + 1)
  end
end
"""

# ARGV[2]: a marked name; [3]: the mailing; [4]: not older than so many microseconds.
# Gives what was said, or nothing.
SAID = BEGIN + _SAID + "return said_before(ARGV[3], tonumber(ARGV[4]))"

# The same, and [5]: what to say; [6]: the name's pseudonym. Gives what stands. An answer begins
# with when it was given and until when it is kept; the last to be over ends the hash.
ONCE = (
    BEGIN
    + _SAID
    + """
local before = said_before(ARGV[3], tonumber(ARGV[4]))
if before then return before end
if gone_us({ARGV[6]}) and call('EXISTS', row_of(ARGV[2])) == 0 then return ARGV[5] end
local until_us, last = now + tonumber(ARGV[4]), 0
local others = call('HGETALL', kept)
for n = 1, #others, 2 do
  local its = tonumber(string.match(others[n + 1], '^%d+,(%d+)'))
  if its <= now then call('HDEL', kept, others[n]) else last = math.max(last, its) end
end
local row = string.format('%.0f,%.0f ', now, until_us)
call('HSET', kept, ARGV[3], row .. ARGV[5])
call('PEXPIRE', kept, math.ceil((math.max(last, until_us) - now) / 1000))
return ARGV[5]
"""
)
