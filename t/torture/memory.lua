-- memory: memory runs out at the n-th allocation of every operation, for every n that it makes: of the VM, and of malloc(3).
--
-- t/torture/host has the VM's allocator and the process's malloc.  A process makes an operation ready and forks for each n, so
-- that what an operation makes by its first use is made in each.
--
-- `memory.lua jit` does the same with operations that are compiled.  LuaJIT 2.1 of Debian 12 itself ends by SIGSEGV where memory
-- runs out inside a trace, in its own unwinding: that is counted and named, all else is judged.
local ffi = require "ffi"
local L = require "llsocket"
local operations = require "operations"
local proc = require "proc"
local shapes = require "shapes"
local signals = require "signals"
local torture = require "torture"

local C = ffi.C
local T = require("tap").plan(3)
if not torture.host then
  T.skip(3, "t/torture/host is not built, for want of LuaJIT's headers")
  T.done()
end

-- What is counted, its name, and whether all that follow fail, too, until the call ends.
local KINDS = { { 1, "allocation", 0 }, { 1, "allocations from", 1 }, { 2, "malloc", 0 }, { 2, "mallocs from", 1 } }
local compiled = ... == "jit"

-- Children write their verdicts into memory that they share with this process.
ffi.cdef [[
void *llsocket_t_memory_mmap(void *at, size_t size, int prot, int flags, int fd, long offset) __asm__("mmap");
]]
local SIGSEGV, SIGALRM = 11, proc.SIGALRM
local MAP_SHARED, MAP_ANONYMOUS = 1, jit.arch:find "mips" and 0x800 or 0x20
local SIZE = 4096
local shared = ffi.cast("struct { int count, has_failed, length; char text[4000]; } *",
  C.llsocket_t_memory_mmap(nil, SIZE, 3, MAP_SHARED + MAP_ANONYMOUS, -1, 0))

local function say(text)
  text = text:sub(1, 3999)
  ffi.copy(shared.text, text, #text)
  shared.length = #text
end

-- Nothing may be allocated between the end of the call and the end of the count.
local function finish(ok, ...)
  shared.count = C.llsocket_t_host_end()
  return ok, shapes.pack(...)
end

local OUT = "not enough memory"
local ENOMEM = { [L.ENOMEM] = true, [L.ENOBUFS] = true, [L.EAI_MEMORY] = true, [L.EAI_SYSTEM] = true }

-- A close tells as a text what a hook raised, and a join what ended the coroutine.
local function told(op, ok, answer)
  if not ok then return not tostring(answer[1]):find(OUT, 1, true) and "it raises " .. tostring(answer[1]) or nil end
  local outcome, e, as_wanted = operations.judge(op, answer)
  local line = shapes.line(answer)
  if as_wanted or outcome == "failed" and ENOMEM[e] or line:find(OUT, 1, true) then return end
  return "it answers " .. line
end

-- The same objects once more: what had arrived may be lost, but nothing raises and every answer has its shape.
local function again(op, case)
  local ok, answer = pcall(operations.run, case)
  if not ok then return "called again it raises " .. tostring(answer) end
  local outcome = operations.judge(op, answer)
  if not outcome then return "called again it answers " .. shapes.line(answer) end
end

-- Has the operation compiled: the VM runs with hotloop=2.
local function warm_up(op)
  for _ = 1, 6 do
    local case = operations.ready(op)
    operations.run(case)
    operations.dispose(case)
  end
end

-- Performs the operation while memory runs out; answers whether it did not raise, and what is wrong.  Keeps the answer for
-- nobody but the case.
local function attempt(op, case, kind, n)
  C.llsocket_t_host_begin(kind[1], n, kind[3])
  local ok, answer = finish(pcall(operations.call, case))
  shared.has_failed = (n > 0 and shared.count >= n) and 1 or 0
  case.answer = ok and answer or nil
  return ok, told(op, ok, answer)
end

local function perform(op, case, was, kind, n, interpreted)
  torture.alarm(10)
  if compiled then warm_up(op) end
  if interpreted then jit.off(); jit.flush() end
  case = case or operations.ready(op)
  was.mask = signals.mask()
  local ok, verdict = attempt(op, case, kind, n)
  local verdicts = { verdict }
  if not ok then verdicts[#verdicts + 1] = again(op, case) end
  verdicts[#verdicts + 1] = torture.remains(case, was, 0, (n + kind[3]) % 2 == 0)
  verdicts[#verdicts + 1] = torture.once_more(op)
  say(table.concat(verdicts, "; "))
end

local found, failures, crashed, crashes = {}, { 0, 0 }, {}, 0

-- glibc's resolver does not survive a malloc that fails: it loops, aborts and dereferences NULL in nss_database.c.
local LIBC = { ["inet.getaddrinfo4"] = true, ["inet.getaddrinfo, by name"] = true, ["ai:nameinfo, by name"] = true,
  ["inet.service"] = true, ["inet.service, by number"] = true }

local function note(op, kind, n, verdict)
  if verdict == "" or kind[1] == 2 and LIBC[op.title] then return end
  found[#found + 1] = ("%s, %s %d: %s"):format(op.title, kind[2], n, verdict)
end

local function end_of(status, signal)
  if signal == SIGALRM then return "it does not return" end
  return ("it ends by signal %d, status %s"):format(signal, tostring(status))
end

-- Performs an operation in a child; answers the child's verdict, and whether there was an n-th allocation.
local function perform_in_child(op, kind, n, interpreted)
  local was = torture.snapshot()
  local case = not (op.process or compiled) and operations.ready(op) or nil
  shared.count, shared.has_failed, shared.length = 0, 0, 0
  local status, signal = proc.wait(proc.fork(perform, op, case, was, kind, n, interpreted))
  if case then operations.dispose(case) end
  if compiled and not interpreted and signal == SIGSEGV then
    crashed[op.title], crashes = true, crashes + 1
    return "", true
  end
  if status ~= 0 then return end_of(status, signal), true end
  return ffi.string(shared.text, shared.length), shared.has_failed == 1
end

-- Whether a fault comes again.  A trace of LuaJIT 2.1 of Debian 12 that ends where memory runs out may leave wrong values, such
-- as a nil in place of a number: that needs the same traces, and comes once.  A fault of the library's comes each time.
local function comes_again(op, kind, n)
  for _ = 1, 5 do
    if perform_in_child(op, kind, n) ~= "" then return true end
  end
  return false
end

-- Whether a fault that comes again is a trace's all the same: it finds a nil where the code cannot have one, and interpreted no
-- allocation does that.  So `s.size >= LARGEST` compares a nil, one line behind a pcall of a ctype that runs out of memory in the
-- same trace, in 1 of 6 processes; s.size is a number in every table of the library.
local function is_of_a_trace(op, kind, verdict)
  if not verdict:find "^it raises .*: attempt to .*nil" then return false end
  local n, said, has_failed = 0, "", true
  while has_failed and said == "" and n < 3000 do
    n = n + 1
    said, has_failed = perform_in_child(op, kind, n, true)
  end
  return said == ""
end

local once_only = 0

-- Answers whether there was an n-th allocation.
local function try(op, kind, n)
  local verdict, has_failed = perform_in_child(op, kind, n)
  if compiled and verdict ~= "" and (not comes_again(op, kind, n) or is_of_a_trace(op, kind, verdict)) then
    print(("# of a trace: %s, %s %d: %s"):format(op.title, kind[2], n, verdict))
    once_only, verdict = once_only + 1, ""
  end
  if has_failed then failures[kind[1]] = failures[kind[1]] + 1 end
  note(op, kind, n, verdict)
  return has_failed
end

local MOST = 3000
local STRIDE = { ["luasec.secure"] = 17 } -- nearly all of thousands are OpenSSL's

local function torment(op)
  for _, kind in ipairs(KINDS) do
    for n = 1, MOST, STRIDE[op.title] or 1 do
      if torture.is_time_up() or not try(op, kind, n) then break end
    end
  end
  collectgarbage()
end

torture.announce()
C.llsocket_t_host_begin(1, 0, 0) -- looked up now: that allocates
C.llsocket_t_host_end()
local done = 0
for _, op in ipairs(torture.shuffle(torture.chosen())) do
  if torture.is_time_up() then break end
  torment(op)
  done = done + 1
end
print(("# %d failed allocations of the VM and %d failed mallocs in %d operations, %d s"):format(failures[1], failures[2], done,
  torture.elapsed()))
if compiled then
  local names = {}
  for title in pairs(crashed) do names[#names + 1] = title end
  table.sort(names)
  print(("# LuaJIT itself ended %d times, and left wrong values %d times, in: %s"):format(crashes, once_only,
    table.concat(names, "; ")))
end
table.sort(found)
for _, line in ipairs(found) do print("# " .. line) end
T.ok(failures[1] > 0 or torture.is_partial, "allocations of the VM fail")
T.ok(failures[2] > 0 or torture.is_partial, "calls of malloc fail")
T.is(#found, 0, "every operation survives memory that runs out, keeps descriptors and mask, and works the next time")
T.done()
