-- values.lua -- what a call answered as one line of text: how many values, and which.
local text = require("llsocket.errno").text

local M = {}

local function one(value)
  if type(value) ~= "string" then return tostring(value) end
  if #value > 200 then return ("%d bytes"):format(#value) end
  return (("%q"):format(value):gsub("\\\n", "\\n"))
end

function M.show(...)
  local n, out = select("#", ...), {}
  if n == 0 then return "no values" end
  for i = 1, n do out[i] = one((select(i, ...))) end
  return table.concat(out, ", ")
end

-- What a send, a recv and a recvfrom answer to try again, and what they answer for an error.
function M.sent_again(e) return M.show(0, nil, true, e) end
function M.again(e) return M.show(nil, nil, true, e) end
function M.again_from(e) return M.show(nil, nil, nil, true, e) end
function M.failed(e) return M.show(nil, text(e), false, e) end
function M.failed_from(e) return M.show(nil, nil, text(e), false, e) end

return M
