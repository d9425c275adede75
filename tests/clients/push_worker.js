// Runs the service worker without a browser: events come from standard input, what it did goes to standard output.
//
// node push_worker.js <push-worker.js>; the input is {"query", "pages", "events": [{"type", …}], "broken"}.

import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";

const source = readFileSync(process.argv[2], "utf8");
const { query = "", pages = [], events, broken = [] } = JSON.parse(readFileSync(0, "utf8"));
/** @type {unknown[][]} */
const did = [];
/** @type {Record<string, (event: any) => void>} */
const listeners = {};
/** @type {any[]} */
let shown = [];

/** @param {string} name */
const act = async (name, ...details) => {
  if (broken.includes(name)) throw new Error(`${name} is broken`);
  did.push([name, ...details]);
};
const windows = pages.map((url) => ({
  url,
  postMessage: (message) => act("message", url, message),
  focus: () => act("focus", url),
}));
const self = {
  location: new URL(`https://app.example/push-worker.js${query}`),
  addEventListener: (name, listener) => (listeners[name] = listener),
  skipWaiting: () => act("skipWaiting"),
  clients: { matchAll: async () => windows, openWindow: (url) => act("open", url) },
  registration: {
    getNotifications: async ({ tag }) => shown.filter((each) => each.tag === tag),
    showNotification: async (title, options) => {
      await act("show", title, options);
      // As Firefox does: it tells of the older one that a newer one replaced it by closing it.
      for (const notification of shown.filter(({ tag }) => tag !== undefined && tag === options.tag)) {
        listeners.notificationclose({ notification, waitUntil: () => {} });
      }
      shown = [...shown.filter(({ tag }) => tag === undefined || tag !== options.tag), { title, ...options }];
    },
  },
};
const fetch = (url, { body, headers, ...options }) => act("fetch", url, JSON.parse(body), headers, options);
const navigator = { setAppBadge: (badge) => act("badge", badge) };
runInNewContext(source, { self, navigator, fetch, URL, Reflect, Set, Object, Promise, JSON });

for (const { type, payload, proposed, title, action = "" } of events) {
  /** @type {Promise<unknown>[]} */
  const waits = [];
  const notification = type === "push" ? proposed : shown.find((each) => each.title === title);
  const data = payload === undefined ? null : { json: () => payload };
  if (notification) notification.close = () => did.push(["close", notification.title]);
  listeners[type]({ data, action, notification, waitUntil: (wait) => waits.push(wait) });
  const ends = await Promise.allSettled(waits);
  did.push(["end", ...ends.filter(({ status }) => status === "rejected").map(({ reason }) => reason.message)]);
}
console.log(JSON.stringify(did));
