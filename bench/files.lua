-- files.lua -- how many requests for a file of 4 KiB does examples/fileserver.lua answer, beside nginx?
--
-- load.c is the client; connections are kept.  nginx is one process that writes no log, as the example does.
return {
  title = "a file of 4 KiB over HTTP", unit = "answers", chunk = 250, load = true, turns = 11, seconds = 0.1, served = 4096,
  note = "Connections are kept. The ratios are those to nginx, as one process without a log.",
  cases = { { name = "1 connection", counts = true, "get", 1 }, { name = "50 connections", "get", 50 } },
  rows = {
    { name = "nginx", server = "nginx.lua", arguments = { "folder", "nginx", "libraries" }, uncounted = true },
    {
      name = "llsocket's example", server = "examples/fileserver.lua", arguments = { "folder", "0" }, to_c = 0.9,
      base = "nginx",
    },
  },
}
