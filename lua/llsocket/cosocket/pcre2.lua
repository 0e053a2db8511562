-- pcre2.lua -- libpcre2-8, where the machine has it; see pcre2api(3).
--
-- The functions are found by dlsym(3) and not declared: a cdef would be global to the VM.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local pairs, pcall, tonumber = pairs, pcall, tonumber

local NAMES = { "libpcre2-8.so.0", "libpcre2-8.0.dylib", "libpcre2-8.so" }

-- Results are int where the library's are; sizes go by pointers.
local TYPES = {
  compile = "void *(*)(const char *, size_t, uint32_t, int *, size_t *, void *)", code_free = "void (*)(void *)",
  jit_compile = "int (*)(void *, uint32_t)", get_error_message = "int (*)(int, char *, size_t)",
  pattern_info = "int (*)(const void *, uint32_t, void *)",
  match_data_create_from_pattern = "void *(*)(const void *, void *)", match_data_free = "void (*)(void *)",
  match = "int (*)(const void *, const char *, size_t, size_t, uint32_t, void *, void *)",
  dfa_match = "int (*)(const void *, const char *, size_t, size_t, uint32_t, void *, void *, int *, size_t)",
  get_ovector_pointer = "size_t *(*)(void *)",
}

-- The library's own numbers, which its header defines and no release changes.
local M = {
  CASELESS = 0x8, DOTALL = 0x20, DUPNAMES = 0x40, EXTENDED = 0x80, MULTILINE = 0x400, UTF = 0x80000, MATCH_UNSET_BACKREF = 0x200,
  ALLOW_EMPTY_CLASS = 0x1, ALT_BSUX = 0x2, ANCHORED = 0x80000000, JIT_COMPLETE = 1,
  NOMATCH = -1, UNSET = -1,
  INFO_CAPTURECOUNT = 4, INFO_NAMECOUNT = 17, INFO_NAMEENTRYSIZE = 18, INFO_NAMETABLE = 19,
}

local function open()
  for i = 1, #NAMES do
    local handle = C.llsocket2_dlopen(NAMES[i], const.RTLD_NOW)
    if handle ~= nil then return handle end
  end
end

local function find_all(handle)
  for name, ctype in pairs(TYPES) do
    local found = C.llsocket2_dlsym(handle, "pcre2_" .. name .. "_8")
    if found == nil then return nil, name end
    M[name] = ffi.cast(ctype, found)
  end
  return true
end

local is_there -- nil until it was looked for

--- Loads the library at the first call.
---@return boolean is_there
function M.load()
  if is_there ~= nil then return is_there end
  local called, handle = pcall(open)
  is_there = called and handle ~= nil and find_all(handle) == true
  return is_there
end

local codes = {
  int = ffi.new "int[1]", size = ffi.new "size_t[1]", word = ffi.new "uint32_t[1]", pointer = ffi.new "const uint8_t *[1]",
}
local text = ffi.new "char[256]"

--- Answers the text of an error number.
---@param number integer
---@return string
function M.message(number)
  M.get_error_message(number, text, 256)
  return ffi.string(text)
end

--- Compiles a pattern.
---@param pattern string
---@param options number
---@return ffi.cdata*? code
---@return string? err
---@return integer? at  where in the pattern
function M.new(pattern, options)
  local code = M.compile(pattern, #pattern, options, codes.int, codes.size, nil)
  if code == nil then return nil, M.message(codes.int[0]), tonumber(codes.size[0]) end
  return ffi.gc(code, M.code_free)
end

--- Makes what a match is written to.
---@param code ffi.cdata*
---@return ffi.cdata* data
function M.data(code) return ffi.gc(M.match_data_create_from_pattern(code, nil), M.match_data_free) end

--- Reads a number about a pattern.
---@param code ffi.cdata*
---@param what integer
---@return integer
function M.number(code, what)
  M.pattern_info(code, what, codes.word)
  return codes.word[0]
end

--- Answers the names of a pattern's groups: a list of { name, number }.
---@param code ffi.cdata*
---@return table
function M.names(code)
  local count, size, list = M.number(code, M.INFO_NAMECOUNT), M.number(code, M.INFO_NAMEENTRYSIZE), {}
  M.pattern_info(code, M.INFO_NAMETABLE, codes.pointer)
  for i = 1, count do
    local entry = codes.pointer[0] + (i - 1) * size
    list[i] = { ffi.string(entry + 2), entry[0] * 256 + entry[1] }
  end
  return list
end

return M
