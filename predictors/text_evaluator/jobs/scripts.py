"""The changes of redis.py as Lua, each atomic. Every one begins with the prefix of all keys.

Any may come twice, when its first answer was lost with the connection (runtime/redis.py).

``now`` is the server's clock in seconds, with all the microseconds it has: jobs are taken up in the order in
which they came, and many come within a millisecond.
"""

_BEGIN = """
local p = ARGV[1] .. ':'
local t = redis.call('TIME')
local now = string.format('%d.%06d', t[1], t[2])
local function tell(id, events) redis.call('PUBLISH', p .. 'news', cjson.encode({id, events})) end
local function changed(id) redis.call('PUBLISH', p .. 'news', '["' .. id .. '",[]]') end
local function open(state) return state == 'queued' or state == 'processing' end
local function count(state, by) redis.call('HINCRBY', p .. 'states', state, by) end
local function become(id, state)
  local before = redis.call('HGET', p .. 'job:' .. id, 'state')
  if before then count(before, -1) end
  count(state, 1)
  redis.call('HSET', p .. 'job:' .. id, 'state', state)
end
local function waits(owner, by)
  if redis.call('HINCRBY', p .. 'waiting', owner, by) <= 0 then redis.call('HDEL', p .. 'waiting', owner) end
end
local function forget(id)
  redis.call('DEL', p .. 'items:' .. id, p .. 'suspects:' .. id, p .. 'results:' .. id, p .. 'events:' .. id)
end
-- Of one caller: its length says where the caller's name ends and its key begins.
local function keyed(owner, key) return p .. 'key:' .. #owner .. ':' .. owner .. ':' .. key end
-- It may be another job's by now: a key is free again when its job has expired.
local function free(owner, key, id)
  if redis.call('GET', keyed(owner, key)) == id then redis.call('DEL', keyed(owner, key)) end
end
local function close(id, owner, left)
  redis.call('ZREM', p .. 'open', id)
  if left > 0 then waits(owner, -left) end
  redis.call('DEL', p .. 'lease:' .. id)
  redis.call('HSET', p .. 'job:' .. id, 'ended', now)
  redis.call('ZADD', p .. 'ended', now, id)
end
"""

CREATE = (
    _BEGIN
    + """
local id, owner, key, digest = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local job = p .. 'job:' .. id
local function answer(how, id)
  local answered = redis.call('HGETALL', p .. 'job:' .. id)
  table.insert(answered, 1, id)
  table.insert(answered, 1, how)
  return answered
end
if redis.call('EXISTS', job) == 1 then return answer('new', id) end -- it came twice
if key ~= '' then
  local known = redis.call('GET', keyed(owner, key))
  local before = known and redis.call('HGET', p .. 'job:' .. known, 'digest')
  if before then return before == digest and answer('known', known) or {'refused', 'conflict'} end
end
local total = #ARGV - 7
if redis.call('ZCARD', p .. 'open') >= tonumber(ARGV[6]) then return {'refused', 'jobs'} end
local waiting = tonumber(redis.call('HGET', p .. 'waiting', owner) or '0')
if waiting > 0 and waiting + total > tonumber(ARGV[7]) then return {'refused', 'items'} end
redis.call('HSET', job, 'owner', owner, 'key', key, 'digest', digest,
  'total', total, 'done', 0, 'failed', 0, 'created', now, 'worked', 0, 'events', 0)
become(id, 'queued')
for n = 1, total do redis.call('HSET', p .. 'items:' .. id, n - 1, ARGV[7 + n]) end
redis.call('ZADD', p .. 'open', now, id)
redis.call('ZADD', p .. 'jobs', now, id)
redis.call('ZADD', p .. 'owner:' .. owner, now, id)
waits(owner, total)
if key ~= '' then redis.call('SET', keyed(owner, key), id) end
changed(id)
return answer('new', id)
"""
)

# A worker that is new, or was not heard of for a lease, makes the others' parts smaller: they look.
SHARE = (
    _BEGIN
    + """
local workers = p .. 'workers'
redis.call('ZREMRANGEBYSCORE', workers, '-inf', now)
local added = redis.call('ZADD', workers, tonumber(now) + ARGV[3] / 1000, ARGV[2])
local live = redis.call('ZCARD', workers)
if added == 1 and live > 1 then changed('') end
return math.ceil(redis.call('ZCARD', p .. 'open') / live)
"""
)

CLAIM = (
    _BEGIN
    + """
local claimed, ids, last = {}, {}, p .. 'claimed:' .. ARGV[2]
local function add(id)
  table.insert(ids, id)
  local job, items = redis.call('HGETALL', p .. 'job:' .. id), redis.call('HKEYS', p .. 'items:' .. id)
  table.insert(claimed, {id, job, items, redis.call('SMEMBERS', p .. 'suspects:' .. id)})
end
local before = redis.call('HMGET', last, 'call', 'ids')
if before[1] == ARGV[5] then -- it came twice
  for _, id in ipairs(cjson.decode(before[2])) do add(id) end
  return claimed
end
for _, id in ipairs(redis.call('ZRANGE', p .. 'open', 0, -1)) do
  if #claimed == tonumber(ARGV[4]) then break end
  if not open(redis.call('HGET', p .. 'job:' .. id, 'state')) then
    redis.call('ZREM', p .. 'open', id) -- the server has evicted it
  elseif redis.call('SET', p .. 'lease:' .. id, ARGV[2], 'NX', 'PX', ARGV[3]) then
    become(id, 'processing')
    add(id)
  end
end
if #ids > 0 then
  redis.call('HSET', last, 'call', ARGV[5], 'ids', cjson.encode(ids))
  redis.call('PEXPIRE', last, ARGV[3])
end
return claimed
"""
)

# A lease that ran out while the server was away is taken up again, unless somebody else has.
_MINE = """
local function mine(id, worker, lease)
  local holder = redis.call('GET', p .. 'lease:' .. id)
  if holder and holder ~= worker then return false end
  if not open(redis.call('HGET', p .. 'job:' .. id, 'state')) then return false end
  redis.call('SET', p .. 'lease:' .. id, worker, 'PX', lease)
  return true
end
"""

RENEW = (
    _BEGIN
    + _MINE
    + """
local kept = {}
for n = 4, #ARGV do if mine(ARGV[n], ARGV[2], ARGV[3]) then table.insert(kept, ARGV[n]) end end
return kept
"""
)

RELEASE = (
    _BEGIN
    + """
if ARGV[3] == 'leaves' then redis.call('ZREM', p .. 'workers', ARGV[2]) end
for n = 4, #ARGV do
  if redis.call('GET', p .. 'lease:' .. ARGV[n]) == ARGV[2] then
    redis.call('DEL', p .. 'lease:' .. ARGV[n])
    changed(ARGV[n])
  end
end
if ARGV[3] == 'leaves' then changed('') end
"""
)

RECORD = (
    _BEGIN
    + _MINE
    + """
local id, job = ARGV[2], p .. 'job:' .. ARGV[2]
if not mine(id, ARGV[3], ARGV[4]) then return 'lost' end
local known = redis.call('HMGET', job, 'done', 'events', 'owner', 'total')
if known[1] ~= ARGV[5] or known[2] ~= ARGV[6] then return 'again' end
local events, indexes = cjson.decode(ARGV[11]), cjson.decode(ARGV[12])
for n, index in ipairs(indexes) do
  redis.call('HDEL', p .. 'items:' .. id, string.format('%d', index))
  redis.call('SREM', p .. 'suspects:' .. id, string.format('%d', index))
  redis.call('RPUSH', p .. 'results:' .. id, ARGV[12 + n])
end
if #indexes > 0 then waits(known[3], -#indexes) end
become(id, ARGV[7])
redis.call('HSET', job, 'done', ARGV[8], 'failed', ARGV[9], 'worked', ARGV[10])
for _, e in ipairs(events) do
  redis.call('XADD', p .. 'events:' .. id, string.format('%d-0', e[1]), 'name', e[2], 'data', e[3])
  redis.call('HSET', job, 'events', string.format('%d', e[1]))
end
if not open(ARGV[7]) then close(id, known[3], 0) end
if #events > 0 then tell(id, events) end
return 'ok'
"""
)

SUSPECT = (
    _BEGIN
    + _MINE
    + """
if mine(ARGV[2], ARGV[3], ARGV[4]) then redis.call('SADD', p .. 'suspects:' .. ARGV[2], unpack(ARGV, 5)) end
"""
)

REMOVE = (
    _BEGIN
    + """
local id, job = ARGV[2], p .. 'job:' .. ARGV[2]
local known = redis.call('HMGET', job, 'state', 'owner', 'total', 'done', 'events', 'key')
local before = redis.call('HGETALL', job)
if known[1] == 'cancelled' and ARGV[5] == 'open' then return before end -- it came twice
if not known[1] then return before end
forget(id)
if open(known[1]) then
  local number = tonumber(known[5]) + 1
  become(id, 'cancelled')
  redis.call('HSET', job, 'events', number)
  close(id, known[2], known[3] - known[4])
  redis.call('XADD', p .. 'events:' .. id, string.format('%d-0', number), 'name', ARGV[3], 'data', ARGV[4])
  tell(id, {{number, ARGV[3], ARGV[4]}})
  return redis.call('HGETALL', job)
end
count(known[1], -1)
redis.call('DEL', job)
free(known[2], known[6], id)
redis.call('ZREM', p .. 'jobs', id)
redis.call('ZREM', p .. 'ended', id)
redis.call('ZREM', p .. 'owner:' .. known[2], id)
changed(id)
return before
"""
)

EXPIRE = (
    _BEGIN
    + """
local ttl, gone = tonumber(ARGV[2]), 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. 'ended', '-inf', tonumber(now) - ttl)) do
  local job = p .. 'job:' .. id
  local known = redis.call('HMGET', job, 'state', 'owner', 'key')
  if known[1] and known[1] ~= 'expired' then
    forget(id)
    become(id, 'expired')
    free(known[2], known[3], id)
    changed(id)
    gone = gone + 1
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. 'ended', '-inf', tonumber(now) - 2 * ttl)) do
  local owner = redis.call('HGET', p .. 'job:' .. id, 'owner')
  if owner then count('expired', -1) end
  redis.call('DEL', p .. 'job:' .. id)
  redis.call('ZREM', p .. 'jobs', id)
  redis.call('ZREM', p .. 'ended', id)
  if owner then redis.call('ZREM', p .. 'owner:' .. owner, id) end
end
return gone
"""
)
