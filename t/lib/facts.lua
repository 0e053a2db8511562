-- facts.lua -- what the C program t/facts.c printed, as tables.
local shell = require "shell"

local M = { const = {}, names = {}, spot = {}, structs = {}, order = {}, images = {} }

local READ = {
  const = function(name, value) M.names[#M.names + 1], M.const[name] = name, tonumber(value) end,
  spot = function(name, value) M.spot[name] = tonumber(value) end,
  struct = function(name, size, align)
    M.order[#M.order + 1] = name
    M.structs[name] = { size = tonumber(size), align = tonumber(align), fields = {} }
  end,
  field = function(struct, name, offset, size, signed)
    table.insert(M.structs[struct].fields,
      { name = name, offset = tonumber(offset), size = tonumber(size), signed = signed == "1" })
  end,
  image = function(owner, name, release, offset, hex)
    local bytes = hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
    table.insert(M.images, { owner = owner, name = name, release = tonumber(release), offset = tonumber(offset), bytes = bytes })
  end,
}

local function read_line(line)
  local words = {}
  for word in line:gmatch "%S+" do words[#words + 1] = word end
  READ[words[1]](unpack(words, 2))
end

local program = assert(os.getenv "LLSOCKET_FACTS", "LLSOCKET_FACTS: path of t/facts")
local run = os.getenv "LLSOCKET_RUN" or "" -- what starts a program of another machine
local pipe = assert(io.popen(shell.format("%s %q", run, program)))
for line in pipe:lines() do read_line(line) end
pipe:close()

return M
