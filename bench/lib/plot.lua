-- plot.lua -- one picture of all ratios to C, by gnuplot: by CPU time, and by rate where threads leave no CPU time.
local M = {}

-- Which rows are one series, and how it looks: point type, colour.
local SERIES = {
  { "llsocket", "^llsocket$", "^llsocket, buffers$", point = 7, colour = "#d62728", size = 0.9 },
  { "llsocket with strings", "^llsocket, strings$", point = 6, colour = "#d62728", size = 0.9 },
  { "llsocket, coroutines", "^llsocket, coroutines$", point = 11, colour = "#d62728", size = 1.1 },
  {
    "llsocket, callbacks", "^llsocket, callbacks$", "^llsocket, buffers, called from a callback$", point = 10,
    colour = "#d62728", size = 1,
  },
  { "llsocket, UDP in batches", "^llsocket, batches$", point = 9, colour = "#d62728", size = 1 },
  { "llsocket, UDP in segments", "^llsocket, segments$", point = 5, colour = "#d62728", size = 0.9 },
  { "lua-socket", "^lua%-socket", point = 2, colour = "#1f77b4", size = 0.7 },
  { "lua-posix", "^lua%-posix", point = 1, colour = "#2ca02c", size = 0.8 },
  { "lua-luv", "^lua%-luv", point = 8, colour = "#9467bd", size = 0.7 },
  { "lua-cqueues", "^lua%-cqueues", point = 4, colour = "#8c564b", size = 0.6 },
  { "Copas", "^lua%-copas", point = 3, colour = "#e377c2", size = 0.7 },
  { "lua-ljsyscall", "^lua%-ljsyscall", point = 12, colour = "#ff7f0e", size = 0.8 },
  { "Go (by rate)", "^Go$", point = 14, colour = "#17a3b5", size = 0.8 },
  { "Node.js (by rate)", "^Node.js$", point = 13, colour = "#7f7f7f", size = 0.8 },
}

local LABELS = {
  round = "send, recv", receive = "recv, new", udp = "UDP", echo = "echo", accept = "accept", sendfile = "sendfile",
  resolve = "resolve",
}

local function belongs(series, name)
  for i = 2, #series do
    if name:find(series[i]) then return true end
  end
end

local function series_of(name)
  for i, series in ipairs(SERIES) do
    if belongs(series, name) then return i end
  end
end

-- Lines from the top, and each series' points on them.
local function collect(plain)
  local names, lines, points = {}, {}, {}
  for _, row in ipairs(plain.results) do
    local label, i = LABELS[row.question], series_of(row.by)
    local line = label and label .. ": " .. row.case
    if line and not lines[line] then
      names[#names + 1] = line
      lines[line] = #names
    end
    if line and i then
      points[i] = points[i] or {}
      table.insert(points[i], { (row.cpu_to_first or row.rate_to_first).median, lines[line] })
    end
  end
  return names, points
end

local EDGE = 1.35 -- what lies beyond stands at the edge, with its figure

local HEAD = [[
set terminal svg size 820,%d font "sans-serif,11" background "white"
set output "%s"
set title "How much is done in the CPU time in which C does 1" font ",13"
set xrange [0:1.5]
set xtics 0,0.25,1.25
set yrange [%g:0.4]
set ytics (%s) nomirror
set grid x y linecolor "#dddddd"
set key outside bottom center horizontal Left reverse maxcols 3
set arrow from 1,0.4 to 1,%g nohead linecolor "#444444" linewidth 1.5
]]

local function block(i, points)
  local out = {}
  for k, point in ipairs(points) do out[k] = ("%.4g %d"):format(math.min(point[1], EDGE), point[2]) end
  return ("$s%d << E\n%s\nE\n"):format(i, table.concat(out, "\n"))
end

local function labels(points)
  local out = {}
  for _, point in ipairs(points) do
    if point[1] > EDGE then
      out[#out + 1] = ('set label "%.2g" at %g,%d offset 1,0\n'):format(point[1], EDGE, point[2])
    end
  end
  return table.concat(out)
end

local function tics(names)
  local out = {}
  for i, name in ipairs(names) do out[i] = ('"%s" %d'):format(name, i) end
  return table.concat(out, ", ")
end

-- Writes the SVG; answers whether gnuplot is there to do so.
function M.write(path, plain)
  local names, points = collect(plain)
  local bottom = #names + 0.6
  local out, plots = { HEAD:format(160 + 20 * #names, path, bottom, tics(names), bottom) }, {}
  for i, series in ipairs(SERIES) do
    if points[i] and #points[i] > 0 then
      out[#out + 1] = block(i, points[i]) .. labels(points[i])
      table.insert(plots, ('$s%d title "%s" with points pointtype %d pointsize %g linecolor "%s"'):format(i, series[1],
        series.point, series.size, series.colour))
    end
  end
  if #plots == 0 then return false end
  out[#out + 1] = "plot " .. table.concat(plots, ", ") .. "\n"
  local pipe = io.popen("gnuplot 2>/dev/null", "w")
  pipe:write(table.concat(out))
  pipe:close()
  local file = io.open(path)
  return file and file:close()
end

return M
