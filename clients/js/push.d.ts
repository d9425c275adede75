/** Web Push: has a user's notifications shown by the browser while the page is closed. */

export interface PushOptions {
  /** Where Ulak is; the page's own origin by default. */
  url?: string;
  /** Fetches the user's token from your server. */
  token: () => Promise<string>;
  /** Where your server has `push-worker.js`; its folder is what it serves. `/push-worker.js` by default. */
  worker?: string;
  /** Which app this is, as accounts name it in `apps`; the page's origin by default. */
  app?: string;
  /** The app's version, by which receipts are counted. */
  version?: string;
}

/** The device as Ulak knows it. */
export interface Registered {
  /** This browser's own id. */
  device: string;
  id: string;
  state: "active" | "disabled" | "stale";
  [field: string]: unknown;
}

/**
 * Asks for permission if need be, subscribes, and registers the browser as a device of the user. Call it after a click
 * the first time, because browsers want that, and then whenever the page starts: a subscription can change.
 * Undefined: the browser can't do it, or the user does not want it.
 */
export function subscribe(options: PushOptions): Promise<Registered | undefined>;

/** Ends it, at a log-out. */
export function unsubscribe(options: PushOptions): Promise<void>;

/** Whether this browser can do it at all; an iPhone can once the page is on the home screen. */
export function supported(): boolean;
