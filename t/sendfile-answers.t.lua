-- sendfile-answers: the files, lengths and offsets that sendfile takes, and the exact values that it returns.
local ffi = require "ffi"
local L = require "llsocket"
local net = require "net"
local leak = require "leak"
local missing = require "missing"
local trace = require "trace"
local values = require "values"
local show, failed = values.show, values.failed
local before = leak.count()
local T = require("tap").plan(60)
if missing.sendfile then missing.skip_all(T, 60, missing.sendfile) end

ffi.cdef [[int llsocket_t_rawfileno(void *file) __asm__("fileno");]]

local dir = net.tmpdir()
local path = dir .. "/file"
local text = "0123456789abcdef"
local file = assert(io.open(path, "w+"))
file:write(text)
file:flush()
local fd = ffi.C.llsocket_t_rawfileno(file)

local a, b = net.pair(L.SOCK_STREAM, true)
local function arrived() return show((b:recv(2^20))) end

-- Number and file object, offset and default.
T.is(show(a:sendfile(fd, 16)), "16, nil, false", "a number: n, nil, false")
T.is(arrived(), show(text), "the whole file arrives")
T.is(show(a:sendfile(file, 16)), "16, nil, false", "a file object: n, nil, false")
T.is(arrived(), show(text), "the whole file arrives again")
T.is(show(a:sendfile(file, 4, 10)), "4, nil, false", "an offset: n, nil, false")
T.is(arrived(), '"abcd"', "the part at the offset arrives")
T.is(show(a:sendfile(file, 1)), "1, nil, false", "one byte")
T.is(arrived(), '"0"', "of the beginning")
T.is(show(a:sendfile(fd, 1, nil)), "1, nil, false", "a nil offset is 0")
T.is(arrived(), '"0"', "so it is")

-- The file's own position.
file:seek("set", 5)
a:sendfile(file, 3, 1)
T.is(arrived(), '"123"', "the position does not count")
T.is(file:seek(), 5, "and does not move")
T.is(file:read(3), "567", "the file's own position has not moved")

-- More than there is.
T.is(show(a:sendfile(file, 17)), "16, nil, true", "more than the file has: all its bytes, and again")
T.is(arrived(), show(text), "that arrives")
T.is(show(a:sendfile(file, 1, 16)), "0, nil, false", "at the end: 0, nil, false")
T.is(show(a:sendfile(file, 2^31, 17)), "0, nil, false", "past the end: 0, nil, false")
for _, offset in ipairs { 2^31 - 1, 2^31, 2^32, 2^32 + 8, 2^44, 2^53 } do
  T.is(show(a:sendfile(file, 4, offset)), "0, nil, false", ("far past the end, %.0f: 0, nil, false"):format(offset))
end
for _, bytes in ipairs { 2^31 - 1, 2^31, 2^32, 2^32 + 1, 2^53 } do
  T.is(show(a:sendfile(file, bytes, 8)), "8, nil, true", ("%.0f bytes asked for: what there is, and again"):format(bytes))
  T.is(arrived(), '"89abcdef"', "and that is the end of the file")
end
T.is(show(a:sendfile(file, 2^53, 2^53)), "0, nil, false", "2^53 bytes at 2^53: 0, nil, false")
T.is(show(b:recv()), values.again(L.EAGAIN), "none of these sent anything")

-- Impossible numbers.
for _, row in ipairs {
  { 0, 0, "0 bytes" }, { -1, 0, "-1 bytes" }, { 1.5, 0, "1.5 bytes" }, { 0/0, 0, "NaN bytes" }, { 1/0, 0, "infinite bytes" },
  { 1, -1, "offset -1" }, { 1, 0.5, "offset 0.5" }, { 1, 0/0, "offset NaN" }, { 1, 2^53 + 2, "an offset above 2^53" },
} do
  T.is(show(a:sendfile(file, row[1], row[2])), failed(L.EINVAL), row[3] .. ": EINVAL")
end
T.is(show(a:sendfile(fd + 0.5, 1)), failed(L.EINVAL), "a descriptor that is no integer: EINVAL")

-- Wrong files.
local shut = assert(io.open(path))
shut:close()
T.is(show(a:sendfile(shut, 1)), failed(L.EBADF), "a closed file object: EBADF")
T.is(show(a:sendfile(-1, 1)), failed(L.EBADF), "descriptor -1: EBADF")
T.is(show(a:sendfile(1000000, 1)), failed(L.EBADF), "a descriptor that is not open: EBADF")
local write_only = assert(io.open(path, "a"))
T.is(show(a:sendfile(write_only, 1)), failed(L.EBADF), "a file open for writing only: EBADF")
write_only:close()
local c, d = net.pair()
T.is(show(a:sendfile(c:fd(), 1)), failed(L.ESPIPE), "a socket for a file: ESPIPE")
local pipe = assert(io.popen "exec sleep 0")
T.is(show(a:sendfile(pipe, 1)), failed(L.ESPIPE), "a pipe for a file: ESPIPE")
pipe:close()
local folder = io.open(dir)
local answer = folder and show(a:sendfile(folder, 1))
T.ok(not folder or answer == failed(L.EINVAL) or answer == failed(L.EISDIR), "a folder for a file: EINVAL or EISDIR")
if folder then folder:close() end
c:close(); d:close()
local good, why = pcall(a.sendfile, a, "name", 1)
T.ok(not good and why:find("bad argument #1 to 'sendfile' (number or file expected, got string)", 1, true),
  "a name for a file raises")
T.is(show(b:recv()), values.again(L.EAGAIN), "none of these sent anything either")

-- Wrong sockets.
local closed = net.pair()
closed:close()
T.is(show(closed:sendfile(file, 1)), failed(L.EBADF), "a closed socket: EBADF")
local udp, udp_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
T.is(show(udp:sendfile(file, 16)), failed(L.EDESTADDRREQ), "a datagram socket without a peer: EDESTADDRREQ")
udp:connect(udp_name)
T.is(show(udp:sendfile(file, 16)), "16, nil, false", "a connected datagram socket takes the file")
T.is(show(udp:recv()), show(text) .. ", nil, false", "as a datagram")
udp:close()

trace.is(T, function()
  for _ = 1, 500 do a:sendfile(fd, 16); b:recv(64) end
end, "a sendfile loop over a descriptor compiles")
a:close(); b:close(); file:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
