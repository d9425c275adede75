// Reads a stream with the client's own reader, cut at every place, and says how often the answer was which.
//
// node events.js <the client's events.js>; the stream's text comes on standard input.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { events } = await import(pathToFileURL(process.argv[2]).href);
const bytes = readFileSync(0);

/** @param {number[]} cuts */
async function told(cuts) {
  const pieces = [0, ...cuts].map((at, n) => bytes.subarray(at, cuts[n] ?? bytes.length));
  const found = [];
  let calls = 0;
  for await (const some of events(ReadableStream.from(pieces))) {
    found.push(...some);
    calls++;
  }
  return JSON.stringify({ found: found.filter(({ name, data }) => name || data), stirred: calls > 0 });
}

/** @type {Record<string, number>} */
const answers = {};
const count = (/** @type {string} */ answer) => (answers[answer] = (answers[answer] ?? 0) + 1);
count(await told([]));
for (let at = 1; at < bytes.length; at++) {
  count(await told([at]));
  count(await told([at, Math.min(at + 3, bytes.length - 1)])); // a piece of few bytes between two
}
count(await told([...bytes.keys()].slice(1))); // byte by byte
console.log(JSON.stringify(Object.entries(answers).map(([answer, times]) => [times, JSON.parse(answer)])));
