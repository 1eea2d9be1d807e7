"""The Lua scripts of the answer store: each is one atomic step on the server.

An edit's record is a hash of `digest` (its request's fingerprint; empty = the id was generated), `replica` and `run`
(who wrote it), `running` (1 or 0), `state` and, once it has succeeded, `answer`. A replica that lives has a key, which
expires with its lease. Of ended edits a sorted set has the age and a hash the size, so that the oldest can be evicted.

KEYS are the record, the ages and the sizes; ARGV[1] is the beginning of the replicas' keys.
"""

from __future__ import annotations

RECORD_OVERHEAD_BYTES = 1200
"""Of a record's key and fields, and of its places in ages and sizes, as Redis 7 takes them."""

_FUNCTIONS = """
local record, ages, sizes = KEYS[1], KEYS[2], KEYS[3]

local function is_running()
  local held = redis.call('HMGET', record, 'running', 'replica')
  return held[1] == '1' and redis.call('EXISTS', ARGV[1] .. held[2]) == 1
end

local function write(running)
  redis.call('HSET', record, 'digest', ARGV[2], 'replica', ARGV[3], 'run', ARGV[4])
  redis.call('HSET', record, 'state', ARGV[5], 'running', running)
  redis.call('PEXPIRE', record, ARGV[6])
end

local function uncount(counted)
  redis.call('ZREM', ages, counted)
  redis.call('HINCRBY', sizes, 'total', 0 - (tonumber(redis.call('HGET', sizes, counted)) or 0))
  redis.call('HDEL', sizes, counted)
end

local function total()
  return tonumber(redis.call('HGET', sizes, 'total')) or 0
end
"""

# ARGV from 2 on: digest, replica, run, state, milliseconds to live.
CLAIM = (
    _FUNCTIONS
    + """
local digest = redis.call('HGET', record, 'digest')
local nbytes = redis.call('HSTRLEN', record, 'answer')
if digest and nbytes > 0 then
  if digest ~= ARGV[2] then return {'taken', 0} end
  return {'answered', nbytes}
end
-- A generated id is never refused: its edit must not fail for what an orchestrator left that is gone.
if digest and ARGV[2] ~= '' and digest ~= ARGV[2] and is_running() then return {'taken', 0} end
uncount(record)
redis.call('DEL', record)
write('1')
return {'free', 0}
"""
)
"""Begin an edit, unless the id has an answer, or belongs to another request that runs."""

REFRESH = (
    _FUNCTIONS
    + """
local held = redis.call('HMGET', record, 'run', 'running')
if held[1] and (held[1] ~= ARGV[4] or held[2] == '0') then return 0 end
write('1')
return 1
"""
)
"""Write the state of a running edit, unless a later run has its record. ARGV as for CLAIM."""

# ARGV as for CLAIM, then: the answer, or nothing; most bytes of all records.
END = (
    _FUNCTIONS
    + f"""
local answer, most = ARGV[7], tonumber(ARGV[8])
local is_mine = redis.call('HGET', record, 'run') == ARGV[4]
if redis.call('HSTRLEN', record, 'answer') > 0 then return total() end
if answer == '' and not is_mine and is_running() then return total() end
uncount(record)
redis.call('DEL', record)
write('0')
if answer ~= '' then redis.call('HSET', record, 'answer', answer) end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local nbytes = #answer + #ARGV[5] + {RECORD_OVERHEAD_BYTES}
local expired = redis.call('ZRANGEBYSCORE', ages, '-inf', now - ARGV[6], 'LIMIT', 0, 100)
for _, gone in ipairs(expired) do uncount(gone) end
redis.call('ZADD', ages, now, record)
redis.call('HSET', sizes, record, nbytes)
redis.call('HINCRBY', sizes, 'total', nbytes)
while total() > most do
  local oldest = redis.call('ZRANGE', ages, 0, 0)[1]
  if not oldest then redis.call('DEL', sizes) break end
  uncount(oldest)
  redis.call('DEL', oldest)
end
redis.call('PEXPIRE', ages, ARGV[6])
redis.call('PEXPIRE', sizes, ARGV[6])
return total()
"""
)
"""Write the end of an edit and evict the oldest records over the limit; returns the bytes of all.

The first answer stays. An end without an answer never replaces a later run.
"""

FIND = (
    _FUNCTIONS
    + """
local held = redis.call('HMGET', record, 'state', 'replica', 'running')
if not held[1] then return false end
return {held[1], held[2], tonumber(held[3]), is_running() and 1 or 0, redis.call('HSTRLEN', record, 'answer')}
"""
)
"""The state of an edit, who wrote it, whether it runs by its record, whether it does, and the bytes of its answer."""
