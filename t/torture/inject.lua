-- inject: every system call that an operation makes fails, with each errno that it can have.
--
-- strace(1) counts the calls of each process by itself.  So one strace follows a process that makes an operation ready and
-- forks; the child performs it, and the call that is to fail is the child's n-th of that name.
local ffi = require "ffi"
local L = require "llsocket"
local faults = require "faults"
local litter = require "litter"
local libc = require "llsocket.core.libc"
local net = require "net"
local operations = require "operations"
local proc = require "proc"
local shapes = require "shapes"
local shell = require "shell"
local signals = require "signals"
local sys = require "sys"
local torture = require "torture"

ffi.cdef [[
long llsocket_t_inject_syscall(long number, long a, long b, long c, long d, long e, long f) __asm__("syscall");
int llsocket_t_inject_usleep(unsigned int usec) __asm__("usleep");
int llsocket_t_inject_write(int fd, const char *text, size_t size) __asm__("write");
]]

local C = ffi.C
local BEGIN, END = 1000, 900 -- close(-BEGIN - i) and close(-END) mark the calls of operation i
local dir = net.tmpdir()
local LOG, REPORT = dir .. "/log", dir .. "/report"
local all = torture.chosen()

-- The process under strace --------------------------------------------------------------------------------------

-- A failure here is a fault that was injected.
local function is_traced()
  local file = io.open "/proc/self/status"
  local status = file and file:read "*a"
  if file then file:close() end
  return (status or ""):match "TracerPid:%s*(%d+)" ~= "0"
end

-- Lets the calls of the process itself pass that are to fail in its children.
local function burn(number, n)
  for _ = 1, n do C.llsocket_t_inject_syscall(number, -1, -1, -1, -1, -1, -1) end
end

-- The report has a number that no operation takes.
local HIGH, report = 550, nil

local function open_report()
  local file = assert(io.open(REPORT, "a"))
  report = sys.copy(libc.llsocket2_fileno(file), HIGH)
  file:close()
end

local function say(i, verdict, answer)
  local line = ("%d\t%s\t%s"):format(i, (verdict:gsub("[\n\t]", " ")), (answer:gsub("[\n\t]", " "))) .. "\n"
  C.llsocket_t_inject_write(report, line, #line)
end

-- Errno is another one after every allocation, where the VM is the tortures' own: what reads it late is found.
local function spoil(number)
  if torture.host then C.llsocket_t_host_spoil(number) end
end

local function run(i, case)
  sys.close(-BEGIN - i)
  spoil(L.EXDEV)
  local ok, answer = pcall(operations.run, case)
  spoil(0)
  sys.close(-END)
  return ok, answer
end

local function perform(i, op, case, was, fault)
  torture.alarm(10)
  case = case or operations.ready(op)
  was.mask = signals.mask()
  local ok, answer = run(i, case)
  local line = ok and shapes.line(answer) or tostring(answer)
  if not fault then return say(i, ok and select(3, operations.judge(op, answer)) and "" or "it answers " .. line, line) end
  local verdicts = { faults.judge(op, ok, answer, fault) }
  verdicts[#verdicts + 1] = ok and faults.again(op, case, answer, fault) or nil
  if ok and faults.may_keep_mask(op, answer, fault) then was.mask = signals.mask() end
  verdicts[#verdicts + 1] = torture.remains(case, was, fault.call == "close" and 1 or 0)
  verdicts[#verdicts + 1] = torture.once_more(op)
  say(i, table.concat(verdicts, "; "), line)
end

local function child_of(i, op, fault)
  local was = torture.snapshot()
  local case = not op.process and operations.ready(op) or nil
  litter.churn() -- what nobody holds is gone
  local status, signal = proc.wait(proc.fork(perform, i, op, case, was, fault))
  if status ~= 0 then
    say(i, signal == 14 and "it does not return" or ("it ends by signal %d, status %s"):format(signal, tostring(status)), "")
  end
  if case then operations.dispose(case) end
end

local function performer(ops, fault)
  open_report()
  collectgarbage(); collectgarbage()
  while not is_traced() do C.llsocket_t_inject_usleep(1000) end
  if fault then burn(fault.number, fault.at) end
  for _, i in ipairs(ops) do child_of(i, all[i], fault) end
end

-- What strace wrote ---------------------------------------------------------------------------------------------

-- Calls fn(i, name, number, line) for each call between an operation's marks, and before(i, name) for those that the child
-- made before them.
local function read_log(fn)
  local current, earlier = {}, {}
  for line in io.lines(LOG) do
    local pid, number, name, rest = line:match "^(%d+) +%[ *(%d+)%] ([%w_]+)%((.*)$"
    local mark = name == "close" and tonumber(rest:match "^%-(%d+)")
    if pid and mark and mark > BEGIN then
      current[pid] = mark - BEGIN
    elseif pid and mark == END then
      current[pid] = nil
    elseif pid and current[pid] then
      fn(current[pid], name, tonumber(number), rest, earlier[pid] and earlier[pid][name] or 0)
    end
    if pid and not current[pid] or mark then
      earlier[pid] = earlier[pid] or {}
      earlier[pid][name] = (earlier[pid][name] or 0) + 1
    end
  end
end

-- Runs the performer under strace; answers its report, { [i] = { verdict, answer } }.
local function trace(options, ops, fault)
  os.remove(LOG); os.remove(REPORT)
  local pid = proc.fork(performer, ops, fault)
  local said = proc.run(shell.format("strace -f -n -q -s 1 -e signal=none -o %q -p %d %s", LOG, pid, options))
  local status, signal = proc.wait(pid)
  assert(status == 0, ("the performer ended with %s, %s; strace said: %s"):format(tostring(status), tostring(signal), said))
  local out = {}
  for line in io.lines(REPORT) do
    local i, verdict, answer = line:match "^(%d+)\t([^\t]*)\t(.*)$"
    out[tonumber(i)] = out[tonumber(i)] or { verdict, answer }
  end
  return out
end

-- Whether strace may attach to a process of this one.
local function may_trace()
  local pid = proc.fork(function()
    for _ = 1, 2000 do
      if is_traced() then return end
      C.llsocket_t_inject_usleep(1000)
    end
    return false
  end)
  local _, ok = proc.run(("strace -q -n -o /dev/null -e inject=getppid:error=EPERM:when=1 -p %d"):format(pid))
  return proc.wait(pid) == 0 and ok
end

-- The faults ----------------------------------------------------------------------------------------------------

local found, injected, blocked = {}, 0, 0

-- calls[name]: its number, and for each operation how often it makes it and how many of the child came before.
local function discover()
  local ops, calls = {}, {}
  for i = 1, #all do ops[i] = i end
  local report_of = trace("", ops)
  read_log(function(i, name, number, _, earlier)
    local call = calls[name] or { number = number, of = {} }
    calls[name] = call
    call.of[i] = call.of[i] or { n = 0, earlier = earlier }
    call.of[i].n = call.of[i].n + 1
  end)
  for i, op in ipairs(all) do
    local verdict = report_of[i] and report_of[i][1] or "it reports nothing"
    if verdict ~= "" then found[#found + 1] = ("%s: without a fault %s"):format(op.title, verdict) end
  end
  return calls
end

-- The first, the middle and the last of n.
local function occurrences(n)
  local out = { [1] = true, [math.ceil(n / 2)] = true, [n] = true }
  return out
end

-- All runs of strace: one call, one errno, one count, and the operations that it hits.
local function plan(calls)
  local out, n = {}, 0
  for name, call in pairs(calls) do
    local at = {}
    for i, of in pairs(faults.SKIPPED[name] and {} or call.of) do
      for k in pairs(occurrences(of.n)) do
        at[of.earlier + k] = at[of.earlier + k] or {}
        table.insert(at[of.earlier + k], i)
      end
    end
    for count, ops in pairs(at) do
      table.sort(ops)
      for _, e in ipairs(faults.errnos(name)) do
        out[#out + 1] = { call = name, number = call.number, at = count, errno = L[e], name = e, ops = ops }
        n = n + #ops
      end
    end
  end
  table.sort(out, function(a, b)
    if a.call ~= b.call then return a.call < b.call end
    if a.at ~= b.at then return a.at < b.at end
    return a.name < b.name
  end)
  return torture.shuffle(out), n
end

local function note(fault, i, verdict, answer)
  found[#found + 1] = ("%s: %s fails with %s at %d: %s (it answered %s)"):format(all[i].title, fault.call, fault.name, fault.at,
    verdict, answer)
end

local function inject(fault)
  local options = ("-e trace=%s,close -e inject=%s:error=%s:when=%d"):format(fault.call, fault.call, fault.name, fault.at)
  local report_of, hit = trace(options, fault.ops, fault), {}
  read_log(function(i, _, _, rest) if rest:find "%(INJECTED%)$" then hit[i] = true end end)
  for i in pairs(hit) do
    local verdict, answer = unpack(report_of[i] or { "it reports nothing", "" })
    injected = injected + 1
    if operations.BLOCKING[fault.call] and fault.errno == L.EINTR then blocked = blocked + 1 end
    if verdict ~= "" then note(fault, i, verdict, answer) end
  end
end

local T = require("tap").plan(2)
torture.announce()
if not may_trace() then
  T.skip(2, "no strace(1) that makes the calls of another process fail, or it may not trace here")
  T.done()
end
local planned, total = plan(discover())
local runs = 0
for _, fault in ipairs(planned) do
  if torture.is_time_up() then break end
  inject(fault)
  runs = runs + 1
end
if not os.getenv "KEEP" then net.cleanup() end
print(("# %d faults injected of %d, %d of them EINTR at calls that may block, in %d operations, by %d of %d runs of strace, %d s")
  :format(injected, total, blocked, #all, runs, #planned, torture.elapsed()))
table.sort(found)
for _, line in ipairs(found) do print("# " .. line) end
T.ok(injected > 0 or torture.is_partial, "system calls fail")
T.is(#found, 0, "every operation answers each failing call in its shape, keeps descriptors and mask, and works the next time")
T.done()
