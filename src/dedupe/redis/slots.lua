-- Carries out operations on slots, many in one round trip, each as if it were alone.
--
-- KEYS: the counter of fences, then the slot of each operation.
-- ARGV: the retention in ms; then three for each operation: `claim`, the claimant and the lease in ms; `renew`, the
--   fence and the lease in ms; `settle`, `release`, `defer` or `forget`, the fence and an empty text; or `peek` and two
--   empty texts.
-- Returns one line for each: `acquired FENCE ATTEMPT`, with ` LAPSED` if claims have lapsed, `held MICROSECONDS`,
--   `settled`, `done`, `fenced`, `corrupt` or `failed ERROR`; for a peek of a slot that is not settled `seen ATTEMPT`,
--   with ` MICROSECONDS`, the rest of its lease, if it is held.
--
-- A slot is `1 held CLAIMANT ATTEMPT FENCE UNTIL`, `1 free ATTEMPT FENCE` or `1 settled FENCE`; UNTIL is Unix time in
-- microseconds, and 1 the version. ` lapsed COUNT` follows if claims of the slot have lapsed. Values of another version
-- or program are corrupt, and left unchanged.

local retention = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Numbers are doubles, which are not exact beyond this. Microseconds reach it in the year 2255.
local LARGEST = 9000000000000000
local MOST_ATTEMPTS = 4294967295
local YEAR = 31536000000

local function number(text, largest)
  local value = tonumber(text)
  return value and value <= largest and value or nil
end

local function text(value)
  return string.format('%.0f', value)
end

-- A fence is greater than any that this store granted, by the counter, and than any that the slot had, by its record.
-- It is also greater than the time: if the record has expired and the counter was lost, in a restart without
-- persistence or a fail-over before it was replicated, the time is beyond their values.
local counter
local is_granted = false
local function next_fence(slot_fence)
  if not counter then
    local found = redis.pcall('GET', KEYS[1])
    if not found then
      counter = now
    elseif type(found) == 'string' and number(string.match(found, '^%d+$'), LARGEST) then
      counter = math.max(now, tonumber(found))
    else
      return nil
    end
  end
  counter = counter + 1
  -- The record of one slot does not move the counter: a damaged record must not affect other slots.
  local fence = math.max(counter, slot_fence + 1)
  return fence <= LARGEST and text(fence) or nil
end

-- Returns the state, attempt and fence, the count of lapses, and for a held slot its claimant and lease expiry.
local function decode(value)
  local lapsed = '0'
  if string.find(value, ' lapsed ', 1, true) then
    value, lapsed = string.match(value, '^(.*) lapsed (%d+)$')
    if not value or not number(lapsed, MOST_ATTEMPTS) then return nil end
  end
  local claimant, attempt, fence, ends = string.match(value, '^1 held (%x+) (%d+) (%d+) (%d+)$')
  local state = 'held'
  if not claimant then
    state, attempt, fence = 'free', string.match(value, '^1 free (%d+) (%d+)$')
  end
  if not fence then
    state, attempt, fence = 'settled', '0', string.match(value, '^1 settled (%d+)$')
  end
  ends = number(ends or '0', LARGEST)
  attempt = number(attempt, MOST_ATTEMPTS)
  if attempt and ends and fence and number(fence, LARGEST) then
    return state, attempt, fence, tonumber(lapsed), claimant, ends
  end
end

-- Appends the count of lapses, which most slots do not have.
local function with_lapsed(value, mark, lapsed)
  return lapsed > 0 and value .. mark .. text(lapsed) or value
end

local function is_error(found)
  return type(found) == 'table' and found.err ~= nil
end

local function grant(key, claimant, lease, attempt, lapsed, slot_fence)
  local fence = next_fence(slot_fence)
  if not fence then return 'corrupt' end
  local held = table.concat({ '1 held', claimant, attempt, fence, text(now + lease * 1000) }, ' ')
  held = with_lapsed(held, ' lapsed ', lapsed)
  -- The retention must not cut short a longer lease.
  local kept = redis.pcall('SET', key, held, 'PX', text(math.max(retention, lease + 1)))
  if is_error(kept) then return 'failed ' .. kept.err end
  is_granted = true
  return with_lapsed('acquired ' .. fence .. ' ' .. attempt, ' ', lapsed)
end

local function claim(key, claimant, lease)
  local found = redis.pcall('GET', key)
  if is_error(found) then return 'failed ' .. found.err end
  if not found then return grant(key, claimant, lease, 1, 0, 0) end
  local state, attempt, fence, lapsed, holder, ends = decode(found)
  if not state then return 'corrupt' end
  if state == 'settled' then return 'settled' end
  -- A claim of the holder is a repetition, since the answer was lost.
  if holder ~= claimant then
    if state == 'held' then
      if now < ends then return 'held ' .. text(ends - now) end
      lapsed = math.min(lapsed + 1, MOST_ATTEMPTS)
    end
    attempt = math.min(attempt + 1, MOST_ATTEMPTS)
  end
  return grant(key, claimant, lease, attempt, lapsed, tonumber(fence))
end

-- Replaces the record of a grant by one that is no longer. That may be done when memory is full: a script that has
-- already written is not rejected, and PEXPIRE is a write that is always allowed.
local function replace(key, wanted, milliseconds)
  local kept = redis.pcall('SET', key, wanted, 'PX', milliseconds)
  if is_error(kept) and string.find(kept.err, 'OOM', 1, true) then
    redis.pcall('PEXPIRE', key, milliseconds)
    kept = redis.pcall('SET', key, wanted, 'PX', milliseconds)
  end
  if is_error(kept) then return 'failed ' .. kept.err end
  return 'done'
end

local function renew(key, fence, lease)
  local found = redis.pcall('GET', key)
  if is_error(found) then return 'failed ' .. found.err end
  if not found then return 'fenced' end
  local state, attempt, granted, lapsed, holder, ends = decode(found)
  if not state then return 'corrupt' end
  if granted ~= fence or state ~= 'held' then return 'fenced' end
  ends = math.max(ends, now + lease * 1000)
  local held = table.concat({ '1 held', holder, attempt, fence, text(ends) }, ' ')
  local left = math.ceil((ends - now) / 1000) + 1
  return replace(key, with_lapsed(held, ' lapsed ', lapsed), text(math.max(retention, left)))
end

local function peek(key)
  local found = redis.pcall('GET', key)
  if is_error(found) then return 'failed ' .. found.err end
  if not found then return 'seen 0' end
  local state, attempt, _, _, _, ends = decode(found)
  if not state then return 'corrupt' end
  if state == 'settled' then return 'settled' end
  local seen = 'seen ' .. text(attempt)
  return state == 'held' and seen .. ' ' .. text(math.max(ends - now, 0)) or seen
end

local function write(key, name, fence)
  local found = redis.pcall('GET', key)
  if is_error(found) then return 'failed ' .. found.err end
  if not found then return 'fenced' end
  local state, attempt, granted, lapsed = decode(found)
  if not state then return 'corrupt' end
  if granted ~= fence then return 'fenced' end
  local wanted = '1 settled ' .. fence
  if name == 'release' then wanted = with_lapsed('1 free ' .. attempt .. ' ' .. fence, ' lapsed ', lapsed) end
  -- If the slot is free, this is a repetition, and the attempt was already taken back.
  if name == 'defer' then
    if state == 'held' then attempt = text(math.max(attempt - 1, 0)) end
    wanted = with_lapsed('1 free ' .. attempt .. ' ' .. fence, ' lapsed ', lapsed)
  end
  if name == 'forget' then wanted = '1 free 0 ' .. fence end
  -- A repetition, since the answer was lost.
  if found == wanted then return 'done' end
  if state ~= 'held' then return 'fenced' end
  return replace(key, wanted, ARGV[1])
end

-- Claims first: none may take room after a write that was admitted into full memory. All operations are concurrent, so
-- any order is correct.
local answers = {}
for i = 2, #KEYS do
  local at = i * 3 - 4
  if ARGV[at] == 'claim' then answers[i - 1] = claim(KEYS[i], ARGV[at + 1], tonumber(ARGV[at + 2])) end
end
-- The counter is written only after a grant: if memory is full and nothing was granted, it must not fail the writes.
if is_granted then
  -- Other stores with a longer retention may share the counter.
  redis.call('SET', KEYS[1], text(counter), 'PX', text(math.max(retention, YEAR)))
end
for i = 2, #KEYS do
  local at = i * 3 - 4
  local name, argument = ARGV[at], ARGV[at + 1]
  if name == 'renew' then
    answers[i - 1] = renew(KEYS[i], argument, tonumber(ARGV[at + 2]))
  elseif name == 'peek' then
    answers[i - 1] = peek(KEYS[i])
  elseif name ~= 'claim' then
    answers[i - 1] = write(KEYS[i], name, argument)
  end
end
return answers
