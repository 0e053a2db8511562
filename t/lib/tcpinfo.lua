-- tcpinfo.lua -- struct tcp_info as t/facts.c has it, for one release of the kernel.
local facts = require "facts"
local shim = require "llsocket.shim"

local M = { kernel = shim.llsocket2_kernel() }

--- The fields of a struct: { name =, offset =, bytes = }, the bytes that change when all bits of the field are set.
---@param owner string  "info", "vegas", "dctcp" or "bbr"
---@param release? integer  0x700 for 7.0; the default is the running kernel
---@return table[] images
function M.images(owner, release)
  local out, since = {}, (release or M.kernel) < 0x700 and 0x612 or 0x700
  for _, image in ipairs(facts.images) do
    if image.owner == owner and (image.release == 0 or image.release == since) then out[#out + 1] = image end
  end
  return out
end

return M
