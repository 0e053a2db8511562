-- facedifferences.lua -- where LuaSocket and its face differ over nasty values, and why, for t/torture/facepositions.lua.
--
-- A row: a pattern for titles, a position or nil for all, a pattern for the value's name, and why.  mine, its: patterns for the
-- two answers.
return {
  { "", nil, "^nil$", "a function in Lua cannot tell a nil from none", mine = "got no value%)", its = "got nil%)" },
  { "", nil, "", "libc cuts a number that is no port, and skips blanks", mine = '"Invalid argument"$' },
  { "", nil, "", "the same", mine = '"[sS]erv[%w ]+ not supported' },
  { ":receive", 1, "^number", "LuaSocket makes 0 of what no size_t holds", its = '^"x?", nil, nil$' },
  { ":receive", 1, "^number", "the face takes at most 64 MiB for a datagram, LuaSocket what is free", its = "out of memory" },
  { ":receive", 1, "^number", "the same, where C makes 0 of it", its = '^""' },
  { "skip", 1, "", "LuaSocket computes with an int", mine = "" },
  { "dns", 1, "mapped$", "the face takes a mapped address for its IPv4 address" },
  { "dns", 1, "empty$", "libc's older functions have another word" },
  { "ipv6%-multicast%-hops", nil, "", "LuaSocket sets and reads the hops of unicasts" },
}
