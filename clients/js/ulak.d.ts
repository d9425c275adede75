/** Ulak's browser client: a user's inbox, live, over one socket for all tabs of a browser. */

/** An inbox item. What its template made (`title`, `body`, …) stands beside the fields named here. */
export interface Item {
  id: string;
  /** Of the item's last change. */
  revision: number;
  type: string;
  notification: string;
  created_at: string;
  seen_at: string | null;
  read_at: string | null;
  archived_at: string | null;
  title?: string;
  body?: string;
  url?: string;
  icon?: string;
  [field: string]: unknown;
}

export interface Status {
  /**
   * `connecting`; `open`; `waiting` for the next try; `closed`, which is final: by you, or by a close code >= 4500,
   * after which something has to change before you call `connect` again.
   */
  state: "connecting" | "open" | "waiting" | "closed";
  /** How the last connection ended: a close code of the protocol, or 1006 when it just broke. */
  code?: number;
  /** The close code's name, and perhaps a few words more. */
  reason?: string;
  /** Milliseconds until the next try, while `waiting`. */
  wait?: number;
  /** What carries the frames, while `open`. */
  transport?: "socket" | "sse";
}

export interface ItemsEvent {
  /** New to this browser. */
  added: Item[];
  /** Held before; their times changed, on this device or another. */
  changed: Item[];
  /** Ids of items that are gone. */
  removed: string[];
  /** Whether it happened just now. False while the client catches up: don't pop up what is old. */
  live: boolean;
}

export interface Events {
  items: ItemsEvent;
  count: { unread: number; unseen: number };
  status: Status;
  /** Of a topic that this tab subscribed to. Fleeting: what comes while offline is gone. */
  message: { topic: string; data: Record<string, unknown>; at: string };
  /** For everybody who is connected. */
  notice: { data: Record<string, unknown>; at: string };
}

export interface Options {
  /** Ulak's address, such as `https://notify.example.com`; else where the page comes from. */
  url?: string;
  /** Whose inbox: your id of the user. Tabs share by it, so that two users of a browser never mix. */
  user: string;
  /** Fetches a user token from *your* server. Called for the first connection, and when a token runs out. */
  token: () => Promise<string>;
  /** Names this browser, where you want to tell the user's devices apart; at most 64 characters. */
  device?: string;
  /** Anything that operators should see of this connection; a JSON object of at most 1 kB. */
  meta?: Record<string, unknown>;
  /** One connection for all tabs (default true). Needs Web Locks: HTTPS or localhost. */
  share?: boolean;
  /** Keep the inbox in localStorage, so that a reload shows it at once and fetches only what is new. */
  store?: boolean;
}

/** Items by id, or all that came up to a revision; all that this browser holds when left out. */
export type Which = string | string[] | { up_to: number };

/** An inbox. Its promises reject with an `Error` whose `code` is one of the protocol's. */
export interface Inbox {
  /** Newest first, archived ones included. */
  readonly items: Item[];
  readonly unread: number;
  readonly unseen: number;
  readonly status: Status;
  /** The inbox is complete up to here. */
  readonly revision: number;
  /** Listen; the answer stops it. */
  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void;
  /** Say that the user has seen items. Kept while offline, and said again until it is answered. */
  seen(which?: Which): Promise<void>;
  /** Has read them, and so seen. */
  read(which?: Which): Promise<void>;
  /** Has put them away, and so seen. */
  archive(which?: Which): Promise<void>;
  /** Get a topic's messages, in this tab; rejects with `forbidden` if the user may not. */
  subscribe(...topics: string[]): Promise<void>;
  unsubscribe(...topics: string[]): Promise<void>;
  /** End it, for this tab. With `forget` (a log-out, say) what is in localStorage goes, too. */
  close(options?: { forget?: boolean }): void;
}

export function connect(options: Options): Inbox;
