"use strict";

// How much does Socket.IO take for the same messages? Its defaults: heartbeat every 25 s, no compression.
const { createServer } = require("node:http");
const { Server } = require("socket.io");
const { message, pick, ready, serve } = require("./common.js");

const http = createServer();
const io = new Server(http, { transports: ["websocket"] });
const connections = [];
io.on("connection", (socket) => {
  connections.push(socket);
  socket.on("disconnect", () => {
    const at = connections.indexOf(socket);
    connections[at] = connections[connections.length - 1];
    connections.pop();
  });
});
http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => ready(http));

serve(
  () => io.emit("m", message()),
  () => pick(connections).emit("m", message()),
);
