-- inner.lua -- functions that stand in a public module's table for other modules of the library; no program calls them.
local M = { list = {}, set = {} }

for title in ([[
  addrinfo.arg addrinfo.blank addrinfo.copied addrinfo.kept addrinfo.received batch.after_partial_send
  batch.after_receive batch.arg batch.has
  batch.has_empty bpf.blame bpf.make cmsghdr.arg cmsghdr.is_rights
  descriptor.new device.of gai.failed
  msghdr.after_partial_send msghdr.after_receive msghdr.arg msghdr.before_receive msghdr.before_send
  msghdr.check_size msghdr.set_data pipe.arg pipe.count pipe.left
  pipe.pass_mark wait.answer wait.give_back wait.is_foreign wait.is_lent wait.is_plain wait.left wait.lend
  wait.milliseconds wait.note_foreign wait.number_of wait.quick_r wait.quick_w wait.shorten wait.sleeper
]]):gmatch "%S+" do
  M.list[#M.list + 1], M.set[title] = title, true
end

return M
