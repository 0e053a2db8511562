-- errno and gai: texts against strerror(3) and gai_strerror(3), names against the constants, and two caches.
local L = require "llsocket"
local ffi = require "ffi"
local const = require "llsocket.core.const"
local errno = require "llsocket.errno"
local gai = require "llsocket.gai"
local leak = require "leak"
local show = require("show").show
local T = require("tap").plan(31)
local before = leak.count()

ffi.cdef [[
const char *llsocket_t_strerror(int number) __asm__("strerror");
const char *llsocket_t_gai_strerror(int number) __asm__("gai_strerror");
]]
local function strerror(n) return ffi.string(ffi.C.llsocket_t_strerror(n)) end
local function gai_strerror(n) return ffi.string(ffi.C.llsocket_t_gai_strerror(n)) end

local errnos, eais = {}, {}
for name, value in pairs(const) do
  if name:find "^EAI_" then eais[name] = value elseif name:find "^E%w+$" and not name:find "^EPOLL" then errnos[name] = value end
end

-- The numbers of all the names for which the test fails, in one text.
local function faults(numbers, fits)
  local out = {}
  for name, n in pairs(numbers) do if not fits(n, name) then out[#out + 1] = name end end
  table.sort(out)
  return table.concat(out, " ")
end

local function size(t)
  local n = 0
  for _ in pairs(t) do n = n + 1 end
  return n
end
T.ok(size(errnos) > 75, "the system has its errno names")
T.ok(size(eais) > 8, "the system has its EAI names")

-- gai first, so that a shared cache would give its texts to errno.
T.is(faults(eais, function(n) return gai.text(n) == gai_strerror(n) end), "", "every EAI text is gai_strerror's")
T.is(faults(eais, function(n) return errno.text(n) == strerror(n) end), "", "the same numbers as errnos have strerror's")
T.is(faults(errnos, function(n) return gai.text(n) == gai_strerror(n) end), "", "every errno's number as an EAI has its text")
T.is(faults(errnos, function(n) return errno.text(n) == strerror(n) end), "", "every errno text is strerror's")
T.is(faults(errnos, function(n) return errno.text(n) == strerror(n) end), "", "it is so a second time")
T.is(faults(eais, function(n) return gai.text(n) == gai_strerror(n) end), "", "and so are the EAI texts")
T.ok(errno.text(2) ~= gai.text(2) and errno.text(L.EAI_NONAME) ~= gai.text(L.EAI_NONAME),
  "one number has two texts: an errno's and an EAI's")

T.is(errno.text(99999), strerror(99999), "an unknown number has strerror's text")
T.is(errno.text(0), strerror(0), "so has 0")
T.is(errno.text(-1), strerror(-1), "so has -1")
T.is(gai.text(99999), gai_strerror(99999), "an unknown EAI has gai_strerror's text")
local function kept()
  collectgarbage(); collectgarbage()
  local start = collectgarbage "count"
  for n = 100000, 120000 do gai.text(n); errno.text(n) end
  collectgarbage(); collectgarbage()
  return collectgarbage "count" - start
end
T.ok(kept() < 100, "nothing is kept of numbers that are none")
local text = errno.text(L.ENOENT)
errno.text(99998); errno.text(99997); collectgarbage()
T.is(text, "No such file or directory", "a text holds when others are made")

-- Names.
T.is(faults(errnos, function(n) return errnos[errno.name(n)] == n end), "", "every number has a name, which has that number")
T.is(show(errno.name(L.ECONNREFUSED), errno.name(L.EINVAL), errno.name(L.EBADF)), "ECONNREFUSED, EINVAL, EBADF", "names are C's")
T.is(show(errno.name(L.EWOULDBLOCK), errno.name(L.EAGAIN)), "EAGAIN, EAGAIN", "EAGAIN is known by that name")
-- A name that is no answer: an alias, and the name that is known instead where both are one number.
local ALIASES = {
  EWOULDBLOCK = "EAGAIN", EDEADLOCK = "EDEADLK", ENOTSUP = "EOPNOTSUPP", EFSBADCRC = "EBADMSG", EFSCORRUPTED = "EUCLEAN",
}
T.is(faults(errnos, function(n, name) return errno.name(n) == name or errnos[ALIASES[name]] == n end), "",
  "of two names with one number the same is always answered: a new pair wants a row in core/failure.lua")
local function is_told(n, name) return errnos[ALIASES[name]] ~= n or errno.name(n) == ALIASES[name] end
T.is(faults(errnos, is_told), "", "which is the one that people know")
T.is(show(errno.name(0), errno.name(99999)), "nil, nil", "a number that is not an errno has no name")

T.is(show(errno.text(0 / 0), errno.text(1.5), gai.text(2^40)), "nil, nil, nil", "a number that is not an integer has no text")
for _, fn in ipairs { errno.text, errno.name, gai.text } do
  local raised, why = pcall(function() local _ = fn "1" end)
  T.ok(not raised and why:find("errno%-texts.-bad argument #1 to '%w+' %(number expected, got string%)"),
    "a string for a number raises here")
end

-- Shapes.
local failure, answer = require "llsocket.core.failure", require "llsocket.socket.answer"
local EPIPE, ECONNRESET, EAGAIN, EINTR, EIO = L.EPIPE, L.ECONNRESET, L.EAGAIN, L.EINTR, L.EIO
T.is(show(failure.failed(EIO)) .. "; " .. show(failure.refused(EIO)),
  ("nil, %s, %d; %s, %d"):format(strerror(EIO), EIO, strerror(EIO), EIO), "a failure has text and number")
T.is(show(answer.not_received(EAGAIN)) .. "; " .. show(answer.not_received(EINTR)),
  ("nil, nil, true, %d; nil, nil, true, %d"):format(EAGAIN, EINTR), "a receive may be tried again")
T.is(show(answer.not_received(ECONNRESET)), ("nil, %s, false, %d"):format(strerror(ECONNRESET), ECONNRESET),
  "a reset while receiving is an error")
T.is(select("#", answer.not_sent(EPIPE)) + select("#", answer.not_sent(ECONNRESET)), 0, "a send to a closed peer has no values")
T.is(show(gai.failed(L.EAI_SYSTEM, EIO)) .. "; " .. show(gai.failed(L.EAI_FAIL, EIO)),
  ("nil, %s, %d, %d; nil, %s, %d"):format(strerror(EIO), L.EAI_SYSTEM, EIO, gai_strerror(L.EAI_FAIL), L.EAI_FAIL),
  "only EAI_SYSTEM has an errno, and its text")

T.is(leak.count(), before, "no descriptor is left")
T.done()
