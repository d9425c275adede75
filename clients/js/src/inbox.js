// What does one tab hold of a user's inbox, and how do the tabs of a browser share one connection?
//
// One tab leads: it holds a Web Lock and the connection (`Line`). All tabs hold the same inbox, because the leader passes
// every frame on. When it goes, another gets the lock and resumes from the same revision. Documentation: ../ulak.d.ts.

import { Line } from "./line.js";

/**
 * @import { Events, Inbox, Item, Options, Status, Which } from "../ulak.d.ts"
 * @typedef {{ op: string } & Record<string, any>} Frame  of the server, or a command to it
 * @typedef {{ active: boolean, topics: string[] }} Tab  what a tab asks of the leader
 * @typedef {{ command: Frame, resolve: () => void, reject: (error: Error) => void }} Asked
 * @typedef {{ is: string } & Record<string, any>} Note  from tab to tab
 */

const IDS = 100; // of one command
const GRACE = 1000; // milliseconds

/** @type {typeof import("../ulak.d.ts").connect} */
export const connect = (options) => new Client(options);

/** @implements {Inbox} */
export class Client {
  epoch = "";
  revision = 0;
  acked = 0;
  unread = 0;
  unseen = 0;
  /** @type {Status} */
  status = { state: "connecting" };
  /** What every tab asks of the leader, this one included. @type {Map<string, Tab>} */
  tabs = new Map();
  id = Math.random().toString(36).slice(2, 12);
  #changed = false;
  #count = 0;
  /** @type {Map<string, Item>} */
  #held = new Map();
  /** @type {Map<string, Asked>} */
  #asked = new Map();
  /** @type {Map<string, Set<(value: any) => void>>} */
  #listeners = new Map();
  /** @type {Set<string>} */
  #topics = new Set();
  #end = new AbortController();
  /** @type {BroadcastChannel | undefined} */
  #channel;
  /** @type {Line | undefined} */
  #line;
  #name;

  /** @param {Options} options */
  constructor(options) {
    this.options = { url: location.origin, share: true, ...options };
    this.#name = `ulak ${this.options.url} ${options.user}`;
    this.#load();
    const { signal } = this.#end;
    document.addEventListener("visibilitychange", () => this.#declare(), { signal });
    addEventListener("online", () => this.#line?.nudge(), { signal });
    addEventListener("pagehide", () => this.#leave(), { signal });
    addEventListener("pageshow", () => this.#declare(), { signal });
    if (this.options.share && navigator.locks) {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
      this.#post({ is: "ask" });
      const led = () => new Promise((done) => (this.#lead(), signal.addEventListener("abort", done)));
      navigator.locks.request(this.#name, { signal }, led).catch(() => {}); // closed before it led
      this.#declare();
    } else {
      this.#lead();
    }
  }

  get items() {
    return [...this.#held.values()].sort((a, b) => (order(a) < order(b) ? 1 : -1));
  }

  /** @type {Inbox["on"]} */
  on(event, listener) {
    const all = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, all.add(listener));
    return () => all.delete(listener);
  }

  /** @param {Which} [which] */
  seen = (which) => this.#mark("seen", which);
  /** @param {Which} [which] */
  read = (which) => this.#mark("read", which);
  /** @param {Which} [which] */
  archive = (which) => this.#mark("archive", which);

  /** @param {string[]} topics */
  async subscribe(...topics) {
    topics.forEach((topic) => this.#topics.add(topic));
    this.#declare();
    try {
      await this.#ask({ op: "subscribe", topics });
    } catch (error) {
      topics.forEach((topic) => this.#topics.delete(topic));
      this.#declare();
      throw error;
    }
  }

  /** @param {string[]} topics */
  unsubscribe(...topics) {
    topics.forEach((topic) => this.#topics.delete(topic));
    this.#declare();
    return this.#ask({ op: "unsubscribe", topics });
  }

  close({ forget = false } = {}) {
    if (this.status.state !== "closed") this.#leave();
    this.#become({ state: "closed" });
    if (forget) localStorage.removeItem(this.#name);
  }

  // ------------------------------------------------------------------------------------------------ for the leader's line

  /** Tell all tabs where the connection stands. @param {Status} status */
  tell(status) {
    this.#post({ is: "status", status });
    this.#become(status);
  }

  /** Take a frame and pass it on; false if there is a gap before it. @param {Frame} frame */
  share(frame) {
    if (!this.#take(frame)) return false;
    this.#post({ is: "frame", frame });
    return true;
  }

  /** A command was carried out, or failed. @param {string} key @param {string} [code] */
  answer(key, code) {
    const asked = this.#asked.get(key);
    if (!asked) return this.#post({ is: "answer", key, code });
    this.#asked.delete(key);
    if (code) asked.reject(failure(code));
    else asked.resolve();
  }

  save() {
    if (!this.options.store || !this.#changed) return;
    this.#changed = false;
    try {
      localStorage.setItem(this.#name, JSON.stringify(this.#state()));
    } catch {
      localStorage.removeItem(this.#name); // full: better nothing than what is old
    }
  }

  // ------------------------------------------------------------------------------------------------ the inbox

  /** @param {Frame} frame */
  #take(frame) {
    if (frame.op === "welcome") {
      this.epoch = frame.epoch;
      if (frame.full) this.#reset();
    } else if (frame.op === "items" || frame.op === "changed") {
      if (frame.prev > this.revision) return false;
      this.#apply(frame);
    } else if (frame.op === "acked") {
      this.acked = frame.revision;
    } else if (frame.op === "count") {
      this.unread = frame["unread"];
      this.unseen = frame["unseen"];
      this.#emit("count", { unread: this.unread, unseen: this.unseen });
    } else if (frame.op === "notice" || (frame.op === "message" && this.#topics.has(frame.topic))) {
      const { op, ...rest } = frame;
      this.#emit(op, rest);
    }
    this.#changed = true;
    return true;
  }

  #reset() {
    const removed = [...this.#held.keys()];
    this.#held.clear();
    this.revision = this.acked = 0;
    if (removed.length) this.#emit("items", { added: [], changed: [], removed, live: false });
  }

  /** @param {Frame} frame */
  #apply({ items, revision, live = false }) {
    /** @type {Events["items"]} */
    const news = { added: [], changed: [], removed: [], live };
    for (const item of items) {
      const old = this.#held.get(item.id);
      if (item.removed) {
        if (this.#held.delete(item.id)) news.removed.push(item.id);
      } else if (!old || item.revision > old.revision) { // else it was told before
        const whole = { ...old, ...item };
        this.#held.set(item.id, whole);
        (old ? news.changed : news.added).push(whole);
      }
    }
    this.revision = Math.max(this.revision, revision);
    if (news.added.length + news.changed.length + news.removed.length) this.#emit("items", news);
  }

  #state() {
    const { epoch, revision, acked, unread, unseen } = this;
    return { epoch, revision, acked, unread, unseen, items: [...this.#held.values()] };
  }

  /** Take over all that another tab holds, or that was stored. @param {any} state */
  #adopt({ items, ...rest }) {
    const held = this.#held;
    this.#held = new Map(items.map((/** @type {Item} */ item) => [item.id, item]));
    Object.assign(this, rest);
    const changed = items.filter((/** @type {Item} */ item) => held.has(item.id));
    const added = items.filter((/** @type {Item} */ item) => !held.has(item.id));
    const removed = [...held.keys()].filter((id) => !this.#held.has(id));
    this.#emit("items", { added, changed, removed, live: false });
    this.#emit("count", { unread: this.unread, unseen: this.unseen });
  }

  #load() {
    try {
      const text = this.options.store && localStorage.getItem(this.#name);
      if (text) this.#adopt(JSON.parse(text));
    } catch {
      localStorage.removeItem(this.#name); // not ours, or of another version
    }
  }

  /** @param {string} event @param {any} value */
  #emit(event, value) {
    this.#listeners.get(event)?.forEach((listener) => {
      try {
        listener(value);
      } catch (error) {
        reportError(error); // one listener's fault is not the others'
      }
    });
  }

  /** @param {Status} status */
  #become(status) {
    if (this.status.state === "closed") return;
    this.status = status;
    if (status.state === "closed") this.#shut();
    this.#emit("status", status);
  }

  /** Nothing more will come: let go of the connection, or of the wish to lead, and of what waits for an answer. */
  #shut() {
    this.#line?.stop();
    // Those who follow must hear that it is final before the lock is free, or the next of them would try again.
    if (this.status.code) setTimeout(() => this.#end.abort(), GRACE);
    else this.#end.abort();
    this.#channel?.close();
    this.#channel = undefined;
    for (const key of [...this.#asked.keys()]) this.answer(key, this.#why());
  }

  #why() {
    return this.status.reason?.split(":")[0] || "closed";
  }

  // ------------------------------------------------------------------------------------------------ commands

  /** @param {string} op @param {Which} [which] */
  async #mark(op, which = { up_to: this.revision }) {
    if (typeof which === "string") which = [which];
    if (!Array.isArray(which)) return this.#ask({ op, ...which });
    const parts = [];
    for (let at = 0; at < which.length; at += IDS) parts.push(this.#ask({ op, ids: which.slice(at, at + IDS) }));
    await Promise.all(parts);
  }

  /** @param {Frame} command @returns {Promise<void>} */
  #ask(command) {
    if (this.status.state === "closed") return Promise.reject(failure(this.#why()));
    const key = `${this.id} ${++this.#count}`;
    return new Promise((resolve, reject) => {
      this.#asked.set(key, { command, resolve, reject });
      this.#say(key, command);
    });
  }

  /** @param {string} key @param {Frame} command */
  #say(key, command) {
    if (this.#line) this.#line.command(key, command);
    else this.#post({ is: "command", key, command });
  }

  // ------------------------------------------------------------------------------------------------ the tabs

  #lead() {
    this.#line = new Line(this);
    this.#post({ is: "lead", state: this.#state() });
    for (const [key, { command }] of this.#asked) this.#line.command(key, command);
    this.#line.start();
    this.#declare();
  }

  /** Say what this tab asks of the leader. */
  #declare() {
    this.#hear({ is: "tab", id: this.id, active: !document.hidden, topics: [...this.#topics] });
  }

  #leave() {
    this.save();
    this.#hear({ is: "tab", id: this.id, active: false, topics: [] });
  }

  /** @param {Note} note */
  #post(note) {
    this.#channel?.postMessage(note);
  }

  /** @param {Note} note */
  #hear(note) {
    const { is, key, state } = note;
    if (is === "tab") {
      if (!this.#line) return note["id"] === this.id ? this.#post(note) : undefined;
      this.tabs.set(note["id"], /** @type {any} */ (note));
      this.#line.look();
    } else if (this.#line) {
      if (is === "command") this.#line.command(key, note.command);
      else if (is === "ask") this.#post({ is: "state", state: this.#state(), status: this.status });
    } else if (is === "frame") {
      if (!this.#take(note.frame)) this.#post({ is: "ask" });
    } else if (is === "answer") {
      if (this.#asked.has(key)) this.answer(key, note.code);
    } else if (is !== "command" && is !== "ask") {
      if (state?.epoch && (state.epoch !== this.epoch || state.revision > this.revision)) this.#adopt(state);
      if (note.status) this.#become(note.status);
      if (is !== "lead") return;
      this.#declare();
      for (const [asked, { command }] of this.#asked) this.#say(asked, command);
    }
  }
}

/** When it came; of those that came at one moment, the one that was sent later is newer. @param {Item} item */
const order = ({ created_at, notification, id }) => created_at + notification + id;

/** @param {string} code */
const failure = (code) => Object.assign(new Error(`Ulak: ${code}`), { code });
