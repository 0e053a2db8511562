-- newcomer.lua -- who follows doc/openresty.md from nothing, by copying what stands there.
local L = require "llsocket"
local install = require "install"
local net = require "net"

local M = {}

-- The blocks of the page that is to be copied: its language, what it is to be, and its text.
local function blocks()
  local out, block = {}, nil
  for line in install.read(install.source .. "/doc/openresty.md"):match "^(.-)\n## Phases\n":gmatch "([^\n]*)\n" do
    if block and line == "```" then block = nil
    elseif block then block.text = block.text .. line .. "\n"
    elseif line:find "^```" then
      local language, name = line:match "^```(%a+) ?(.*)$"
      block = { language = language, name = name, text = "" }
      out[#out + 1] = block
    end
  end
  return out
end

-- Two ports that nobody has.
local function port(socktype)
  local sock, ai = net.bound(L.AF_INET, socktype)
  sock:close()
  return ai:port()
end

-- The whole page as one script, for a folder with a clone in it: what is to be saved is saved, the receiver has a terminal
-- of its own.
function M.script(dir)
  local out = { "set -e; unset LUA_PATH LUA_CPATH; cd " .. dir .. "/clone" }
  for _, block in ipairs(blocks()) do
    if block.name == "receiver" then
      out[#out + 1] = ("( %s ) >%s/received 2>&1 &"):format(block.text, dir)
      out[#out + 1] = "sleep 1" -- the reader takes longer to turn to the other terminal
    elseif block.language == "sh" then out[#out + 1] = block.text
    else out[#out + 1] = ("cat >%s <<'END-OF-BLOCK'\n%sEND-OF-BLOCK"):format(block.name, block.text) end
  end
  local ports = { ["8125"] = port(L.SOCK_DGRAM), ["8080"] = port(L.SOCK_STREAM) }
  return (table.concat(out, "\n"):gsub("%f[%d]%d%d%d%d%f[%D]", ports))
end

return M
