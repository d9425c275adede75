// How does a page get its browser to be told of a user's notifications while it is closed?
//
// Web Push: the browser subscribes with the key of one of Ulak's accounts, and Ulak is told where it can be reached.
// `push-worker.js`, which shows what comes, has to be served from the page's own origin. Types: push.d.ts.

const ID = "ulak.device";

/** @import { PushOptions, Registered } from "./push.js" */
/** @typedef {{ account: string, key: string, apps: string[] }} Server */

/**
 * Asks for permission if need be, subscribes, and registers the browser as a device of the user.
 *
 * @param {PushOptions} options
 * @returns {Promise<Registered | undefined>}
 */
export async function subscribe(options) {
  if (!supported() || (await Notification.requestPermission()) !== "granted") return undefined;
  const registration = await worker(options);
  /** @type {{ application_servers: Server[] }} */
  const { application_servers: servers } = await call(options, "GET", "");
  const app = options.app ?? location.origin;
  const usable = servers.filter(({ apps }) => apps.length === 0 || apps.includes(app));
  const subscription = await subscribed(registration, usable);
  return call(options, "PUT", `/${device()}`, {
    kind: "webpush",
    app,
    subscription: subscription.toJSON(),
    application_server_key: keyOf(subscription),
    ...(options.version === undefined ? {} : { app_version: options.version }),
  });
}

/**
 * Ends it, at a log-out: nothing more comes, for this user or another.
 *
 * @param {PushOptions} options
 */
export async function unsubscribe(options) {
  const registration = supported() ? await navigator.serviceWorker.getRegistration() : undefined;
  await (await registration?.pushManager.getSubscription())?.unsubscribe();
  if (localStorage.getItem(ID) !== null) {
    await call(options, "DELETE", `/${device()}?app=${encodeURIComponent(options.app ?? location.origin)}`);
  }
}

/** Whether this browser can do it at all; an iPhone can once the page is on the home screen. */
export function supported() {
  return "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;
}

/** @param {PushOptions} options */
async function worker({ url, worker: path = "/push-worker.js", version }) {
  const asked = new URLSearchParams({ api: url ?? location.origin, ...(version === undefined ? {} : { version }) });
  await navigator.serviceWorker.register(`${path}?${asked}`);
  return navigator.serviceWorker.ready;
}

/**
 * The subscription that there is, if Ulak still has its key; else a new one.
 *
 * @param {ServiceWorkerRegistration} registration
 * @param {Server[]} servers
 */
async function subscribed({ pushManager }, servers) {
  const [first] = servers;
  if (first === undefined) throw new Error("no account of Ulak's sends Web Push to this app");
  const found = await pushManager.getSubscription();
  if (found !== null) {
    if (servers.some(({ key }) => key === keyOf(found))) return found;
    await found.unsubscribe();
  }
  return pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: octets(first.key) });
}

/** @param {PushSubscription} subscription */
function keyOf({ options }) {
  const key = new Uint8Array(options.applicationServerKey ?? new ArrayBuffer(0));
  return btoa(String.fromCharCode(...key)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @param {string} text base64url */
function octets(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

/** This browser's own stable id; it names no person. */
function device() {
  const id = localStorage.getItem(ID) ?? crypto.randomUUID();
  localStorage.setItem(ID, id);
  return id;
}

/**
 * @param {PushOptions} options
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 */
async function call({ url = location.origin, token }, method, path, body) {
  const answer = await fetch(`${url}/v1/me/devices${path}`, {
    method,
    headers: { authorization: `Bearer ${await token()}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (answer.ok) return answer.status === 204 ? undefined : answer.json();
  if (method === "DELETE" && answer.status === 404) return undefined;
  throw new Error(`${method} /v1/me/devices: ${answer.status} ${await answer.text()}`);
}
