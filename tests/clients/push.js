// Runs `push.js` without a browser, and says what it asked of the browser and of Ulak.
//
// node push.js <the helper>; the input is {"calls": ["subscribe" | "unsubscribe" | "supported"], "options", "permission",
// "lacks", "servers", "found" (the key of a subscription that is there), "answers" ({"METHOD path": status})}.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const asked = JSON.parse(readFileSync(0, "utf8"));
const { calls, options = {}, permission = "granted", lacks = [], servers = [], found, answers = {} } = asked;
/** @type {unknown[][]} */
const did = [];
const octets = (/** @type {string} */ text) => Uint8Array.from(Buffer.from(text, "base64url"));

/** @param {string} key */
const subscription = (key) => ({
  options: { applicationServerKey: octets(key).buffer },
  toJSON: () => ({ endpoint: `https://push.example/${key}`, keys: {} }),
  unsubscribe: async () => (did.push(["unsubscribe", key]), (known = null), true),
});
let known = found === undefined ? null : subscription(found);
const registration = {
  pushManager: {
    getSubscription: async () => known,
    subscribe: async ({ userVisibleOnly, applicationServerKey }) => {
      const key = Buffer.from(applicationServerKey).toString("base64url");
      did.push(["subscribe", key, userVisibleOnly]);
      return (known = subscription(key));
    },
  },
};
const serviceWorker = {
  register: async (/** @type {string} */ url) => did.push(["register", url]),
  ready: Promise.resolve(registration),
  getRegistration: async () => registration,
};
const stored = new Map();
/** @type {string | undefined} */
let first;
const globals = {
  navigator: lacks.includes("serviceWorker") ? {} : { serviceWorker },
  window: Object.fromEntries(["PushManager", "Notification"].filter((each) => !lacks.includes(each)).map((each) => [each, {}])),
  Notification: { requestPermission: async () => permission },
  location: new URL("https://app.example/page"),
  localStorage: { getItem: (name) => stored.get(name) ?? null, setItem: (name, value) => stored.set(name, value) },
  fetch: async (/** @type {string} */ url, { method, headers, body }) => {
    const path = url.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/, (id) => ((first ??= id), id === first ? "ID" : "another ID"));
    did.push([method, path, headers.authorization, body === undefined ? null : JSON.parse(body)]);
    const status = answers[method] ?? (method === "DELETE" ? 204 : 200);
    const text = JSON.stringify(method === "GET" ? { items: [], application_servers: servers } : { id: "dev_1" });
    return new Response(status === 204 ? null : text, { status });
  },
};
for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, configurable: true });

const push = await import(pathToFileURL(process.argv[2]).href);
for (const call of calls) {
  try {
    did.push(["answer", (await push[call]({ token: async () => "tok", ...options })) ?? null]);
  } catch (error) {
    did.push(["error", String(error)]);
  }
}
console.log(JSON.stringify(did));
