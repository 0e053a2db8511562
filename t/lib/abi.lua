-- abi.lua -- the ABI number of the shim, as csrc/shim.h has it.
local file = assert(io.open(os.getenv "LLSOCKET_SOURCE" .. "/csrc/shim.h"))
local text = file:read "*a"
file:close()
return assert(tonumber(text:match "#define LLSOCKET_ABI (%d+)"), "no LLSOCKET_ABI in shim.h")
