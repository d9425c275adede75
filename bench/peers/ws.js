"use strict";

// How much does Node `ws` take for the same messages? Its defaults: no compression; it has no heartbeat of its own.
const { WebSocketServer } = require("ws");
const { message, pick, ready, serve } = require("./common.js");

const connections = [];
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 4096 });
server.on("listening", () => ready(server));
server.on("connection", (socket) => {
  connections.push(socket);
  socket.on("error", () => {});
  socket.on("close", () => {
    const at = connections.indexOf(socket);
    connections[at] = connections[connections.length - 1];
    connections.pop();
  });
});

serve(
  () => {
    const text = JSON.stringify(message());
    for (const socket of connections) socket.send(text);
  },
  () => pick(connections).send(JSON.stringify(message())),
);
