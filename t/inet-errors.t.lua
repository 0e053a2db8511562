-- inet.getaddrinfo and nameinfo: how they fail, with texts, EAI_* and the errno behind EAI_SYSTEM.
local L = require "llsocket"
local gai = require "llsocket.gai"
local leak = require "leak"
local proc = require "proc"
local show = require("show").show
local sys = require "sys"
local text = require("llsocket.errno").text
local T = require("tap").plan(27)
local before = leak.count()
local inet = L.inet

-- What a failure with an EAI number looks like: exactly three values.
local function failure(name) return ("nil, %s, %d"):format(gai.text(L[name]), L[name]) end
local INVALID = ("nil, Invalid argument, %d, %d"):format(L.EAI_SYSTEM, L.EINVAL)

local function fails(want, name, ...) T.is(show(inet.getaddrinfo(...)), want, name) end

fails(failure "EAI_NONAME", "neither host nor port is EAI_NONAME")
fails(failure "EAI_NONAME", "a name under AI_NUMERICHOST is EAI_NONAME", "localhost", "80", nil, nil, L.AI_NUMERICHOST)
fails(failure "EAI_NONAME", "a service's name under AI_NUMERICSERV is EAI_NONAME",
  "127.0.0.1", "http", nil, nil, L.AI_NUMERICSERV)
fails(failure "EAI_SERVICE", "an unknown service is EAI_SERVICE", "127.0.0.1", "no-such-service")
fails(failure "EAI_BADFLAGS", "an unknown flag is EAI_BADFLAGS", "127.0.0.1", "80", nil, nil, 2^30)
fails(failure "EAI_BADFLAGS", "one among several too", "127.0.0.1", "80", nil, nil, L.AI_PASSIVE, 2^30)
fails(failure "EAI_BADFLAGS", "a flag that is a word without sign is a flag", "127.0.0.1", "80", nil, nil, 2^31)
local WRONG_TYPE = sys.musl and "EAI_SERVICE" or "EAI_SOCKTYPE"
fails(failure(WRONG_TYPE), "an unknown socktype is " .. WRONG_TYPE, "127.0.0.1", "80", 99)
fails(failure(WRONG_TYPE), "a protocol that the socktype has not is " .. WRONG_TYPE,
  "127.0.0.1", "80", L.SOCK_STREAM, L.IPPROTO_UDP)
T.is(show(inet.getaddrinfo4("::1", "80", nil, nil, L.AI_NUMERICHOST)), show(inet.getaddrinfo6("127.0.0.1", "80")),
  "the families refuse each other alike")

fails(INVALID, "a NUL in the host is EINVAL after EAI_SYSTEM", "127.0.0.1\0")
fails(INVALID, "a NUL in the port is EINVAL after EAI_SYSTEM", "127.0.0.1", "80\0")
fails(INVALID, "a port beyond 65535 is EINVAL after EAI_SYSTEM", nil, "65536")
fails(INVALID, "a socktype of 1.5 is EINVAL after EAI_SYSTEM", "127.0.0.1", "80", 1.5)
fails(INVALID, "a protocol of 2^32+1 is EINVAL after EAI_SYSTEM", "127.0.0.1", "80", nil, 2^32 + 1)
fails(INVALID, "a flag that is not a number's worth is EINVAL after EAI_SYSTEM", "127.0.0.1", "80", nil, nil, 0 / 0)
T.is(show(inet.getaddrinfo4("a\0b")), INVALID, "getaddrinfo4 looks too")
T.is(show(inet.getaddrinfo6("a\0b")), INVALID, "getaddrinfo6 looks too")

-- Wrong types raise here, in this file, under the called name.
local function raises(fn, ...)
  local args, n = { ... }, select("#", ...)
  local _, message = pcall(function() fn(unpack(args, 1, n)) end)
  return message
end
local function raise_is(want, name, ...)
  local message = raises(...):gsub("^.-(inet%-errors%.t%.lua):%d+: ", "%1: ")
  T.is(message, "inet-errors.t.lua: bad argument " .. want, name)
end
raise_is("#1 to 'getaddrinfo' (string expected, got number)", "a number for a host raises at the caller's line",
  inet.getaddrinfo, 127)
raise_is("#2 to 'getaddrinfo' (string or number expected, got table)", "a table for a port raises", inet.getaddrinfo, "::1", {})
raise_is("#3 to 'getaddrinfo6' (number expected, got string)", "a string for a socktype raises, under the called name",
  inet.getaddrinfo6, "::1", "80", "1")
raise_is("#4 to 'getaddrinfo4' (number expected, got boolean)", "a boolean for a protocol raises",
  inet.getaddrinfo4, "1.2.3.4", "80", 1, true)
raise_is("#6 to 'getaddrinfo' (number expected, got table)", "a table for the second flag raises",
  inet.getaddrinfo, "::1", "80", 1, 6, 1, {})

-- Without descriptors the resolver cannot read its files.  glibc asks for a name's errno only once its parts are
-- loaded, and for an address's only before: `first` is what is done while there still are descriptors.
local function starved(first, call)
  local said = proc.lua(([[
local L, sys, show = require "llsocket", require "sys", require("show").show
local inet, ai = L.inet, L.inet.getaddrinfo("127.0.0.1", "80")[1]
print((%s) ~= nil)
sys.limit_descriptors(0)
print(show(%s))]]):format(first, call))
  return said:match "^(%S+)\n(.*)\n$"
end

local EMFILE = ("nil, %s, %d, %d"):format(text(L.EMFILE), L.EAI_SYSTEM, L.EMFILE)
local function starves(name, first, call)
  local known, answer = starved(first, call)
  if known ~= "true" then return T.skip(1, "localhost has no address here") end
  if not answer:find(", " .. L.EAI_SYSTEM .. ",", 1, true) then return T.skip(1, "this system's resolver hides the errno") end
  T.is(answer, EMFILE, name)
end
starves("EAI_SYSTEM has the errno's text, and the errno after it",
  'inet.getaddrinfo("localhost", "80")', 'inet.getaddrinfo("localhost", "80")')
starves("so it is for nameinfo", "ai", "ai:nameinfo()")
local _, numeric = starved("ai", 'inet.getaddrinfo("127.0.0.1", "80")')
T.is(numeric, "{127.0.0.1:80}", "a numeric host needs no descriptor")

T.is(leak.count(), before, "no descriptor is left")
T.done()
