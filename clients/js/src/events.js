// Which events of a stream did each piece of it complete, wherever the network cut it?

/** @typedef {{ name: string, data: string }} StreamEvent */

/**
 * Server-sent events (WHATWG HTML, 9.2) as Ulak writes them. Yields once for each piece that comes; an empty list (a
 * comment, half an event) still shows that somebody is there. Lines end at "\n" and nowhere else: what JavaScript
 * calls line terminators besides, U+2028 and U+2029, may stand in the data.
 * @param {ReadableStream<any>} body
 * @returns {AsyncGenerator<StreamEvent[]>}
 */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return; // an event that is not complete is none
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop() ?? "";
    yield blocks.map((block) => ({ name: field(block, "event: "), data: field(block, "data: ") }));
  }
}

/** @param {string} block @param {string} start */
const field = (block, start) =>
  block
    .split("\n")
    .filter((line) => line.startsWith(start))
    .map((line) => line.slice(start.length))
    .join("\n");
