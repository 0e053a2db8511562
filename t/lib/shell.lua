-- shell.lua -- commands for sh(1) from paths that hold blanks, quotes or whatever else a file name may.
local M = {}

-- One word of the shell, with these bytes and no others.
function M.quote(text) return "'" .. tostring(text):gsub("'", [['\'']]) .. "'" end

-- string.format, where %q is one word of the shell: shell.format("ls %q/lib | head -n %d", path, 3).
function M.format(command, ...)
  local values, i = { ... }, 0
  local text = command:gsub("%%([^%a%%]*)([%a%%])", function(width, kind)
    if kind == "%" then return end
    i = i + 1
    if kind ~= "q" then return end
    values[i] = M.quote(values[i])
    return "%" .. width .. "s"
  end)
  return text:format(unpack(values, 1, select("#", ...)))
end

return M
