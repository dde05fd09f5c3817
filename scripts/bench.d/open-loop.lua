-- Makes an open loop of wrk: requests are due at fixed moments, evenly spread over all connections, and the time a request takes counts from
-- the moment at which it was due, so that one that has to wait for the one before it on its connection is late and not left out.
-- Each thread has one connection, which is why it may sleep until the next request is due.
-- Arguments: requests a second (0: each as soon as the one before it is answered), threads, seconds of warming up, seconds that count.
local ffi = require("ffi")
ffi.cdef [[
  struct timespec { long seconds; long nanoseconds; };
  int clock_gettime(int clock, struct timespec *time);
  int clock_nanosleep(int clock, int flags, const struct timespec *time, struct timespec *left);
  int prctl(int option, unsigned long value);
]]
local MONOTONIC, ABSOLUTE, SET_TIMER_SLACK = 1, 1, 29
local time = ffi.new("struct timespec")

local function now()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

local function sleep_until(moment)
  time.seconds = math.floor(moment)
  time.nanoseconds = (moment - math.floor(moment)) * 1e9
  ffi.C.clock_nanosleep(MONOTONIC, ABSOLUTE, time, nil)
end

local threads, beginning = {}, now() + 0.5
function setup(thread)
  table.insert(threads, thread)
  thread:set("number", #threads)
  thread:set("beginning", beginning)
end

local rate, count, from, till, due, text
local sent = 0
took = {} -- microseconds of each answer whose request was due in the seconds that count
function init(args)
  rate, count = tonumber(args[1]), tonumber(args[2])
  from = _G.beginning + tonumber(args[3])
  till = from + tonumber(args[4])
  text = wrk.format()
  -- wrk calls `request` once in the first thread only to look at it.
  if _G.number == 1 then sent = -1 end
end

-- wrk calls this for the first request, and then as soon as there is an answer.
function request()
  if sent == -1 then
    sent = 0
    return text
  end
  local answered = now()
  if sent == 0 then ffi.C.prctl(SET_TIMER_SLACK, 1) end
  if due and due >= from and due < till then took[#took + 1] = math.floor((answered - due) * 1e6) end
  due = math.max(_G.beginning, answered)
  if rate > 0 then due = _G.beginning + (_G.number - 1 + sent * count) / rate end
  sent = sent + 1
  if due > answered then sleep_until(due) end
  return text
end

-- One line: errors, all requests that were answered, and the microseconds of those that count.
function done(summary)
  local e = summary.errors
  io.write("RESULT ", e.connect + e.read + e.write + e.status + e.timeout, " ", summary.requests)
  for _, thread in ipairs(threads) do io.write(" ", table.concat(thread:get("took"), " ")) end
  io.write("\n")
end
