// echo.js -- the echo server in Node.js, with a callback for each connection.
"use strict";
const net = require("net");

let open = 0;

const server = net.createServer((sock) => {
  open += 1;
  sock.on("data", (message) => sock.write(message));
  sock.on("error", () => sock.destroy());
  sock.on("close", () => {
    open -= 1;
    if (open === 0) server.close();
  });
});

server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => console.log(server.address().port));
