// When does the leading tab connect, over what, and what does it say?
//
// It speaks the protocol `ulak.v1` (spec/socket.md) over a WebSocket, or SSE and PATCH where sockets don't get through.

import { events } from "./events.js";

/**
 * @import { Client, Frame } from "./inbox.js"
 */

const SECOND = 1000;
const SILENCE = 25 * SECOND; // then ask whether anybody is there
const PATIENCE = 8 * SECOND; // for any answer
const CONNECT = 15 * SECOND; // from the first step to `welcome`
const STEADY = 10 * SECOND; // a connection that lasted forgives the failures before it
const LONGEST = 30 * SECOND; // between two tries
const UPGRADE = 300 * SECOND; // of SSE, before a socket is tried again
/** @type {Record<string, number>} */
const FINAL = { unauthorised: 4500, token_revoked: 4506 }; // what a refused stream has in common with a closed socket
const ACK = 20; // items, if a second does not pass before

/** The leader's connection. */
export class Line {
  #client;
  #options;
  /** @type {Map<string, Frame>} */
  #waiting = new Map(); // for an answer
  #turn = 0; // what belongs to an earlier connection comes too late
  #open = false;
  #ready = false; // caught up with all that was there at `welcome`
  #active = false;
  /** @type {WebSocket | undefined} */
  #socket;
  #upgraded = false;
  #blocked = 0; // upgrades that failed in a row
  #abort = new AbortController();
  #token = "";
  /** @type {string | undefined} */
  #ticket;
  #usedTicket = false;
  #tries = 0;
  /** @type {number | undefined} */
  #drained;
  #top = 0; // the inbox's revision at `welcome`
  #reached = 0; // up to here this connection told all
  #acking = 0;
  #unacked = 0;
  #heard = 0;
  #pinged = 0;
  #since = 0;
  #renew = Infinity;
  /** @type {any} */
  #timer;
  /** @type {any} */
  #clock;

  /** @param {Client} client */
  constructor(client) {
    this.#client = client;
    this.#options = client.options;
  }

  start() {
    this.#clock = setInterval(() => this.#tick(), SECOND);
    this.#try();
  }

  stop() {
    this.#ack();
    this.#drop();
    clearTimeout(this.#timer);
    clearInterval(this.#clock);
  }

  /** The network is back, or somebody looks: don't wait. */
  nudge() {
    if (this.#client.status.state === "waiting" && this.#drained === undefined) this.#try();
    else if (this.#ready) this.#ping();
  }

  /** The tabs' wishes changed. */
  look() {
    const active = [...this.#client.tabs.values()].some((tab) => tab.active);
    if (active === this.#active) return;
    this.#active = active;
    if (this.#open) this.#send({ op: active ? "active" : "idle" });
    if (active) this.nudge();
  }

  /** @param {string} key @param {Frame} command */
  command(key, command) {
    this.#waiting.set(key, command);
    if (this.#ready) this.#carry(key, command);
  }

  // ------------------------------------------------------------------------------------------------ connecting

  async #try() {
    clearTimeout(this.#timer);
    const turn = ++this.#turn;
    this.#heard = Date.now();
    this.#drained = undefined;
    this.#client.tell({ state: "connecting" });
    const sse = this.#blocked > 1;
    this.#usedTicket = !sse && !!this.#ticket;
    try {
      if (!this.#usedTicket) this.#token = await this.#options.token();
    } catch (error) {
      if (turn === this.#turn) this.#lost(1006, `no token: ${error}`);
      return;
    }
    if (turn !== this.#turn) return;
    if (sse) this.#stream(turn);
    else this.#connect();
  }

  #connect() {
    const socket = new WebSocket(`${this.#options.url.replace(/^http/, "ws")}/v1/socket`, "ulak.v1");
    this.#socket = socket;
    socket.onopen = () => {
      this.#upgraded = true;
      this.#blocked = 0;
      const { device, meta } = this.#options;
      const who = this.#usedTicket ? { ticket: this.#ticket } : { token: this.#token };
      this.#send({ op: "hello", ...who, ...this.#from(), device, meta });
    };
    socket.onmessage = ({ data }) => [JSON.parse(data)].flat().forEach((frame) => this.#frame(frame));
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
  }

  /** Where to resume: what is not acked comes again, so that the server learns that it arrived. */
  #from() {
    const { epoch, acked, revision } = this.#client;
    return epoch ? { epoch, since: Math.min(acked, revision) } : {};
  }

  /** @param {number} turn */
  async #stream(turn) {
    const { signal } = (this.#abort = new AbortController());
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(this.#from())) query.set(name, `${value}`);
    const topics = this.#wanted();
    if (topics.length) query.set("topics", JSON.stringify(topics));
    let code = 1006;
    let reason = "";
    try {
      const response = await this.#fetch(`/stream?${query}`, { signal });
      if (!response.ok) {
        const pause = Number(response.headers.get("retry-after"));
        if (pause) this.#drained = pause * SECOND;
        ({ code: reason } = await response.json());
        code = FINAL[reason] ?? code;
        throw reason;
      }
      for await (const some of events(/** @type {NonNullable<typeof response.body>} */ (response.body))) {
        this.#heard = Date.now();
        for (const { name, data } of some) {
          if (turn !== this.#turn) return;
          if (name === "close") ({ code, reason } = JSON.parse(data));
          else if (data) this.#frame(JSON.parse(data));
        }
      }
    } catch (error) {
      reason = `${error}`;
    }
    if (turn === this.#turn) this.#lost(code, reason);
  }

  /** @param {string} path @param {RequestInit} [init] */
  #fetch(path, init) {
    const headers = { authorization: `Bearer ${this.#token}`, "content-type": "application/json" };
    return fetch(`${this.#options.url}/v1/me/inbox${path}`, { cache: "no-store", headers, ...init });
  }

  /** @param {number} code @param {string} reason @param {boolean} [own] nothing failed: it asks for another */
  #lost(code, reason, own) {
    const refused = this.#socket && !this.#upgraded;
    if (refused) this.#blocked++;
    else if (this.#blocked > 1) this.#blocked = 1; // after SSE the next try is a socket
    if (this.#open && Date.now() - this.#since > STEADY) this.#tries = 0;
    this.#drop();
    if (refused && this.#blocked > 1) return this.#try(); // its other half: a stream, at once
    if (code === 4006 || code === 4500) this.#ticket = undefined;
    if (code >= 4500 && !(code === 4500 && this.#usedTicket)) return this.#client.tell({ state: "closed", code, reason });
    const most = Math.min(LONGEST, (SECOND / 2) * 2 ** (own ? 0 : this.#tries++));
    const wait = this.#drained ?? Math.random() * most;
    this.#client.tell({ state: "waiting", code, reason, wait });
    this.#timer = setTimeout(() => this.#try(), wait);
  }

  /** Let go of the connection, without a word from it any more. */
  #drop() {
    this.#turn++;
    this.#open = this.#ready = this.#upgraded = false;
    this.#reached = this.#acking = this.#pinged = this.#unacked = 0;
    this.#renew = Infinity;
    this.#abort.abort();
    if (this.#socket) {
      this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
    }
    this.#socket = undefined;
  }

  // ------------------------------------------------------------------------------------------------ listening

  /** @param {Frame} frame */
  #frame(frame) {
    this.#heard = Date.now();
    this.#pinged = 0;
    if (frame.op === "welcome") {
      this.#welcome(frame);
    } else if (frame.op === "ok" || frame.op === "error") {
      this.#answered(frame);
    } else if (frame.op === "drain") {
      this.#drained = frame.retry_after * SECOND;
    } else if (!this.#client.share({ ...frame, live: frame.revision > this.#top })) {
      return this.#lost(1006, "a gap");
    } else if (frame.items) {
      this.#reached = frame.revision;
      this.#unacked += frame.items.length;
      if (this.#unacked >= ACK) this.#ack();
    }
    if (this.#open && !this.#ready && this.#reached >= this.#top) this.#go();
  }

  /** @param {Frame} frame */
  #welcome(frame) {
    if (frame["user"] !== this.#options.user) return this.#lost(4500, "bad_token: another user's");
    this.#top = frame["revision"];
    this.#reached = frame["full"] ? 0 : this.#from().since ?? 0;
    this.#client.share(frame);
    this.#open = true;
    this.#since = Date.now();
    this.#expires(frame);
    if (this.#active) this.#send({ op: "active" });
    const wanted = this.#wanted();
    if (this.#socket) wanted.forEach((topic) => this.#send({ op: "subscribe", topics: [topic] }));
    else if (!wanted.length) this.#answered({ op: "ok", id: "topics" });
    this.#client.tell({ state: "open", transport: this.#socket ? "socket" : "sse" });
  }

  /** Caught up: say what had to wait, because it may speak of items that this connection had not told yet. */
  #go() {
    this.#ready = true;
    for (const [key, command] of this.#waiting) {
      if (this.#socket || !/subscribe/.test(command.op)) this.#carry(key, command);
    }
  }

  /** @param {Frame} frame */
  #answered(frame) {
    const { id, code } = frame;
    if (id === "refresh" && !code) this.#expires(frame);
    if (id === "ack" && !code) this.#client.share({ op: "acked", revision: this.#acking });
    if (id === "topics") { // SSE: of all that wait to be subscribed
      for (const [key, { op }] of this.#waiting) if (/subscribe/.test(op)) this.#settle(key, code);
    }
    if (code !== "unavailable" && code !== "rate_limited") this.#settle(id, code);
    else if (this.#waiting.has(id)) setTimeout(() => this.#again(id), SECOND);
  }

  /** @param {string} key @param {string} [code] */
  #settle(key, code) {
    if (this.#waiting.delete(key)) this.#client.answer(key, code);
  }

  /** @param {string} key */
  #again(key) {
    const command = this.#waiting.get(key);
    if (command && this.#ready) this.#carry(key, command);
  }

  /** @param {Frame} frame */
  #expires({ ticket, expires }) {
    this.#ticket = ticket;
    const left = expires * SECOND - Date.now();
    this.#renew = expires ? Date.now() + Math.max(5 * SECOND, left / 2, left - 60 * SECOND) : Infinity;
  }

  // ------------------------------------------------------------------------------------------------ talking

  /** Every second. */
  #tick() {
    const now = Date.now();
    this.#client.save();
    if (this.#client.status.state === "waiting") return;
    if (!this.#open) {
      if (now - this.#heard > CONNECT) this.#lost(1006, "no answer");
      return;
    }
    this.#ack();
    if (now > this.#renew) this.#refresh();
    if (!this.#socket && now - this.#since > UPGRADE) this.#lost(1000, "time to try a socket again", true);
    else if (this.#pinged ? now - this.#pinged > PATIENCE : now - this.#heard > SILENCE + (this.#socket ? 0 : PATIENCE)) {
      if (this.#pinged || !this.#socket) this.#lost(1006, "no answer");
      else this.#ping();
    }
  }

  #ping() {
    if (!this.#socket || this.#pinged) return;
    this.#pinged = Date.now();
    this.#send({ op: "ping" });
  }

  #ack() {
    if (!this.#open || this.#reached <= Math.max(this.#client.acked, this.#acking)) return;
    this.#unacked = 0;
    this.#acking = this.#reached;
    this.#send({ op: "ack", revision: this.#reached, id: "ack" });
  }

  async #refresh() {
    const turn = this.#turn;
    this.#renew = Date.now() + 10 * SECOND; // unless it works
    try {
      const token = await this.#options.token();
      if (turn === this.#turn) this.#send({ op: "refresh", token, id: "refresh" });
    } catch {
      // once more in ten seconds; in the end the server says `token_expired`
    }
  }

  #wanted() {
    return [...new Set([...this.#client.tabs.values()].flatMap((tab) => tab.topics))];
  }

  /** @param {string} key @param {Frame} command */
  #carry(key, command) {
    if (command.op === "unsubscribe") { // what other tabs still want stays
      const wanted = this.#wanted();
      command = { op: command.op, topics: command["topics"].filter((/** @type {string} */ t) => !wanted.includes(t)) };
      if (!command["topics"].length) return this.#settle(key);
    }
    this.#send({ ...command, id: key });
  }

  /** @param {Frame} command */
  #send(command) {
    if (this.#socket) this.#socket.send(JSON.stringify(command));
    else this.#patch(command);
  }

  /** What SSE can't say. Marks and acks go over HTTP; topics stand in the stream's address. @param {Frame} command */
  async #patch({ op, id, ids, up_to, revision }) {
    if (/subscribe/.test(op)) {
      this.#lost(1000, "topics changed", true);
      this.#blocked = 2;
    }
    const delivered = { after: this.#client.acked, up_to: revision, active: this.#active };
    const body = op === "ack" ? { delivered } : { [op]: ids ?? { up_to } };
    if (!id || /subscribe/.test(op)) return;
    const turn = this.#turn;
    const response = await this.#fetch("", { method: "PATCH", body: JSON.stringify(body) }).catch(() => undefined);
    if (turn !== this.#turn || !response) return; // said again after the next `welcome`
    if (response.status === 401) return this.#lost(4006, "token_expired");
    const code = response.ok ? undefined : response.status < 500 ? (await response.json()).code : "unavailable";
    this.#answered({ op: "ok", id, code });
  }
}
