-- logs.lua -- defines what is logged and where to: change it as you need.
local stats = require("statsd").new("127.0.0.1", 8125, "nginx.")
local access = require("syslog").new("access", "127.0.0.1", 514)
local slow = require("syslog").new("slow", "/dev/log")
local tcpinfo = require "tcpinfo"

local SLOW = 1 -- seconds
local REQUEST = 1000 -- most bytes logged of a request's first line: it may have 8,000, a datagram should have 1,400

-- The network may be the reason for a slow answer.
local function log_slow(line)
  local info = tcpinfo.client()
  slow:log(info and ("%s rtt=%dus retransmits=%d"):format(line, info.rtt, info.total_retrans) or line)
end

local M = {}

-- Call it in log_by_lua*.
function M.request()
  local var = ngx.var
  local seconds = tonumber(var.request_time)
  local request = (var.request or "-"):sub(1, REQUEST)
  local line = ("%s %s %d %s %s"):format(var.remote_addr, request, ngx.status, var.bytes_sent, var.request_time)
  stats:count("status." .. ngx.status)
  stats:timing("request_time", seconds * 1000)
  access:log(line)
  if seconds >= SLOW then log_slow(line) end
end

-- Call it in exit_worker_by_lua*: sends what is left.
function M.flush()
  for _, log in ipairs { stats, access, slow } do log:flush() end
end

-- The numbers of sent and dropped messages of all workers since nginx was started.
function M.status()
  local counts, lines = ngx.shared.counts, {}
  for i, name in ipairs(counts:get_keys(0)) do lines[i] = name .. " " .. counts:get(name) end
  table.sort(lines)
  return table.concat(lines, "\n")
end

return M
