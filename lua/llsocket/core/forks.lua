-- forks.lua -- how often this process came from a fork(2): counter[0] grows in each child; reading it is no system call.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"

local forks = shim.llsocket2_forks()
if forks == nil then error("not enough memory", 0) end -- without its handler the counter would never grow

return { counter = forks }
