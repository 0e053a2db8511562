-- newcomer.lua -- who follows doc/openresty.md from nothing, by copying what stands there.
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

-- Waits, in the shell, until the receiver has its port.
local LISTENS = [[for i in $(seq 200); do grep -qi ":$(printf %04X 8125) " /proc/net/udp && break; sleep 0.1; done]]

-- The whole page as one script, for a folder with a clone in it: what is to be saved is saved, the receiver has a terminal
-- of its own.
function M.script(dir)
  local out = { "set -e; unset LUA_PATH LUA_CPATH; cd " .. dir .. "/clone" }
  for _, block in ipairs(blocks()) do
    if block.name == "receiver" then
      out[#out + 1] = ("( %s ) >%s/received 2>&1 &"):format(block.text, dir)
      out[#out + 1] = LISTENS
    elseif block.language == "sh" then out[#out + 1] = block.text
    else out[#out + 1] = ("cat >%s <<'END-OF-BLOCK'\n%sEND-OF-BLOCK"):format(block.name, block.text) end
  end
  local ports = { ["8125"] = net.free_port(), ["8080"] = net.free_port() }
  return (table.concat(out, "\n"):gsub("%f[%d]%d%d%d%d%f[%D]", ports))
end

return M
