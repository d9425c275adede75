"use strict";

// What do the Node peers share: messages of the same bytes as ours, and commands from standard input?
//
//   broadcast N   send N messages to everybody, each encoded as the library does it
//   targeted N    send N messages, each to a random connection, each encoded for it, each in a turn of the loop of its own

const readline = require("node:readline");

const PAD = "x".repeat(104);
let number = 0;

/** One message; 200 bytes as JSON, as ours has. */
exports.message = () => ({
  op: "notice",
  data: { mark: "~m~", number: 1_000_000 + (number += 1), text: PAD },
  at: "2026-01-01T00:00:00.000Z",
});

/** Carry out commands until standard input ends. */
exports.serve = (broadcast, targeted) => {
  let due = 0;
  const one = () => {
    targeted();
    if ((due -= 1)) setImmediate(one);
  };
  readline.createInterface({ input: process.stdin }).on("line", (line) => {
    const [name, count] = line.split(" ");
    if (name === "broadcast") {
      for (let i = 0; i < Number(count); i += 1) broadcast();
      return;
    }
    if (!due) setImmediate(one);
    due += Number(count);
  }).on("close", () => process.exit(0));
};

exports.pick = (list) => list[Math.floor(Math.random() * list.length)];
exports.ready = (server) => console.log(JSON.stringify({ port: server.address().port }));
