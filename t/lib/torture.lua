-- torture.lua -- what the tortures share: the seed, the time that a share may take, and what holds after every fault.
--
-- LLSOCKET_TORTURE_SEED repeats a run; LLSOCKET_TORTURE_SECONDS bounds it, and without it everything is done;
-- LLSOCKET_TORTURE_ONLY is a pattern that the titles of operations must have.
local ffi = require "ffi"
local L = require "llsocket"
local lacking = require "lacking"
local operations = require "operations"
local shapes = require "shapes"
local signals = require "signals"
local sys = require "sys"

ffi.cdef [[
int llsocket_t_torture_poll(void *fds, unsigned long n, int timeout) __asm__("poll");
unsigned int llsocket_t_torture_alarm(unsigned int seconds) __asm__("alarm");
void llsocket_t_host_begin(int kind, int n, int lasting);
int llsocket_t_host_end(void);
void llsocket_t_host_spoil(int number);
]]

local C = ffi.C
local M = {
  seed = tonumber(os.getenv "LLSOCKET_TORTURE_SEED") or (os.time() * 1000 + math.floor(sys.clock() * 1e6)) % 2^31,
  seconds = tonumber(os.getenv "LLSOCKET_TORTURE_SECONDS" or ""),
}

-- Whether t/torture/host runs this, whose VM can run out of memory.
M.host = pcall(function() return C.llsocket_t_host_begin end)

local only = os.getenv "LLSOCKET_TORTURE_ONLY" or ""
local start = sys.clock()
M.is_partial = M.seconds ~= nil or only ~= "" -- not everything is done
math.randomseed(M.seed)
math.random() -- the first number hardly depends on the seed

-- Says on standard output how to do the same again.
function M.announce()
  print(("# seed %d, %s: LLSOCKET_TORTURE_SEED=%d repeats it"):format(M.seed,
    M.seconds and ("a share of %d s"):format(M.seconds) or "the whole", M.seed))
end

function M.is_time_up() return M.seconds and sys.clock() - start >= M.seconds end

function M.elapsed() return sys.clock() - start end

function M.shuffle(list)
  for i = #list, 2, -1 do
    local j = math.random(i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

-- The operations to do, without those that this system lacks.
function M.chosen()
  local out, lacks = {}, lacking.titles()
  for _, op in ipairs(operations.all) do
    if op.title:find(only) and not lacks[op.title] then out[#out + 1] = op end
  end
  return out
end

-- Ends the process by SIGALRM after some seconds, for a call that never returns.
function M.alarm(seconds) C.llsocket_t_torture_alarm(seconds) end

-- The descriptors that are open, by one system call, so that a tracer does not slow it down: a set, and how many.
local TOP, POLLNVAL = 600, 0x20
local pollfds = ffi.new("struct { int fd; short events, revents; }[600]")
for fd = 0, TOP - 1 do pollfds[fd].fd = fd end

function M.open_descriptors()
  local out, n = {}, 0
  C.llsocket_t_torture_poll(pollfds, TOP, 0)
  for fd = 0, TOP - 1 do
    if bit.band(pollfds[fd].revents, POLLNVAL) == 0 then out[fd], n = true, n + 1 end
  end
  return out, n
end

-- What must be as it was after a fault.
function M.snapshot() return { open = M.open_descriptors(), mask = signals.mask() } end

local function difference(was, is)
  local out = {}
  for fd = 0, TOP - 1 do
    if was[fd] and not is[fd] then out[#out + 1] = ("descriptor %d is closed"):format(fd) end
    if is[fd] and not was[fd] then out[#out + 1] = ("descriptor %d is left open"):format(fd) end
  end
  return table.concat(out, "; ")
end

local function size(set)
  local n = 0
  for _ in pairs(set) do n = n + 1 end
  return n
end

--- Disposes of a case, and tells what is not as it was before its making.
---@param case table
---@param was table  of M.snapshot, from before operations.ready
---@param unclosed integer  how many calls of close(2) were kept from closing: so many descriptors must be left
---@param drop? boolean  true: the collector closes
---@return string? faults
function M.remains(case, was, unclosed, drop)
  local out, mask = {}, signals.mask()
  local promised = case.op.mask and case.answer and operations.judge(case.op, case.answer) == "done"
  if mask ~= was.mask and not promised then out[1] = ("the signal mask is {%s}, it was {%s}"):format(mask, was.mask) end
  if drop and not case.op.kept then operations.drop(case) else operations.dispose(case) end
  case.args, case.answer, case.undo = nil, nil, nil
  local now, n = M.open_descriptors()
  local want = size(was.open) + unclosed
  if n ~= want then
    pcall(jit.flush) -- a trace may hold a closure, and that a socket: see leak.lua
    collectgarbage(); collectgarbage()
    now, n = M.open_descriptors()
  end
  if n < want and unclosed > 0 then out[#out + 1] = "close(2) was tried again" end
  if n ~= want then out[#out + 1] = difference(was.open, now) end
  return out[1] and table.concat(out, "; ")
end

--- Performs an operation once more, with new objects, and tells what is wrong with that.
function M.once_more(op)
  local case = operations.ready(op)
  local ok, answer = pcall(operations.run, case)
  local _, _, as_wanted = nil, nil, false
  if ok then _, _, as_wanted = operations.judge(op, answer) end
  operations.dispose(case)
  if not as_wanted then return "done once more it answers " .. (ok and shapes.line(answer) or tostring(answer)) end
end

M.AGAIN = { [L.EAGAIN] = true, [L.EINTR] = true }

return M
