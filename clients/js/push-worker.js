// What does the browser do with a push while the page is closed?
//
// A service worker. `push.js` registers it with `?api=` (where receipts go) and `?version=` (of the app). It shows what
// came, tells Ulak that it was shown, opened or put away, and opens the page that it is about. Pages of the app that are
// open get `{ ulak: <the push> }` by `navigator.serviceWorker.onmessage`, silent pushes included.

/// <reference lib="webworker" />

/** @typedef {{ notification?: string, type?: string, receipt?: string, navigate?: string, urls?: Record<string, string> }} Told */
/** @typedef {{ action: string, title: string, navigate?: string, icon?: string }} Button */
/** @typedef {NotificationOptions & { title?: string, navigate?: string, actions?: Button[] }} Shown */

const here = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const asked = new URL(here.location.href).searchParams;
const api = asked.get("api") ?? here.location.origin;
const version = asked.get("version");
/** Receipts of notifications that end because of us (opened, or a newer one takes their place): nobody put those away. */
const ended = new Set();

// It keeps nothing, so a newer one need not wait for the pages of the older one to close.
here.addEventListener("install", () => void here.skipWaiting());

here.addEventListener("push", (event) => {
  /** @type {{ data?: { ulak?: Told } } | undefined} */
  const proposed = Reflect.get(event, "notification") ?? undefined;
  // A browser that knows declarative messages shows them by itself and only lets us know.
  event.waitUntil(proposed === undefined ? arrived(event) : tell(proposed.data?.ulak, "shown"));
});

here.addEventListener("notificationclick", (event) => {
  const { action, notification } = event;
  /** @type {Told | undefined} */
  const told = notification.data?.ulak;
  if (told?.receipt !== undefined) ended.add(told.receipt);
  notification.close();
  const url = told?.urls?.[action] ?? told?.navigate;
  event.waitUntil(Promise.all([url === undefined ? undefined : open(url), tell(told, "opened")]));
});

here.addEventListener("notificationclose", (event) => {
  /** @type {Told | undefined} */
  const told = event.notification.data?.ulak;
  if (!ended.delete(told?.receipt)) event.waitUntil(tell(told, "dismissed"));
});

/** @param {PushEvent} event */
async function arrived(event) {
  /** @type {{ notification?: Shown, app_badge?: number }} */
  const message = event.data?.json() ?? {};
  const { notification, app_badge: badge } = message;
  if (badge !== undefined && "setAppBadge" in navigator) await navigator.setAppBadge(badge).catch(() => {});
  const pages = await here.clients.matchAll({ type: "window", includeUncontrolled: true });
  for (const page of pages) page.postMessage({ ulak: message });
  if (notification?.title === undefined) return; // silent: for the pages only
  const { title, navigate, actions = [], data, ...options } = notification;
  /** @type {Told} */
  const told = {
    ...data?.ulak,
    ...(navigate === undefined ? {} : { navigate }),
    urls: Object.fromEntries(actions.flatMap(({ action, navigate: url }) => (url === undefined ? [] : [[action, url]]))),
  };
  const buttons = actions.map(({ navigate: _, ...button }) => button);
  if (options.tag) {
    const older = await here.registration.getNotifications({ tag: options.tag });
    for (const { data: known } of older) if (known?.ulak?.receipt !== undefined) ended.add(known.ulak.receipt);
  }
  await here.registration.showNotification(title, { ...options, ...{ actions: buttons }, data: { ...data, ulak: told } });
  await tell(told, "shown");
}

/**
 * A tab that is there already comes to the front; else a new one is opened.
 *
 * @param {string} url
 */
async function open(url) {
  const wanted = new URL(url, here.location.origin).href;
  const pages = await here.clients.matchAll({ type: "window" });
  const page = pages.find((each) => each.url === wanted);
  await (page === undefined ? here.clients.openWindow(wanted) : page.focus());
}

/**
 * Whoever has the receipt may tell; no token is needed. What can't be told is left: it is for the statistics.
 *
 * @param {Told | undefined} told
 * @param {"shown" | "opened" | "dismissed"} event
 */
async function tell(told, event) {
  if (told?.receipt === undefined) return;
  const said = { receipt: told.receipt, event, at: new Date().toISOString(), ...(version === null ? {} : { app_version: version }) };
  await fetch(`${api}/v1/receipts/push`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(said),
    credentials: "omit",
    keepalive: true,
  }).catch(() => {});
}
