std = "luajit"
max_line_length = 130
exclude_files = { "BUILD" }
files["lua/llsocket/socket/option.lua"] = { max_line_length = 150 } -- one row, one line
files["lua/llsocket/meta.lua"] = { max_line_length = false } -- generated
files["examples/openresty"] = { std = "ngx_lua" }
