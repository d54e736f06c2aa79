// The socket: follows requests, comes back after an interruption, drops what is not newer.
import { page } from "./page.js";

/** Milliseconds before the first new attempt; doubled up to LONGEST_WAIT. */
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15000;

/** Milliseconds of silence after which the page asks, and after which no answer means no connection:
    a cable that was pulled closes no socket. */
const SILENCE = 20000;
const PATIENCE = 25000;

/** The same after the machine woke up or the network came back, when a dead socket is likely. */
const SHORT_PATIENCE = 5000;

/** Milliseconds between two looks at the silence. */
const LOOK = 2500;

/** Close codes by which the server says that nobody is logged in. */
const NOT_LOGGED_IN = [4401, 4403];

/**
 * Follow requests, or the whole worklist.
 *
 * After each connection the wish is sent again, and the server answers with a snapshot: that is how
 * a page catches up with what it missed.
 */
export class Live {
  #handlers;
  #versions = new Map();
  #wish = { type: "follow", request_ids: [] };
  #socket = null;
  #heard = 0;
  #asked = 0; // when the oldest question without an answer was sent; 0 without one
  #wait = FIRST_WAIT;
  #timer = 0;

  /** `handlers`: onRequest(request), onLabs(labs), onConnection("open" | "lost" | "refused"). */
  constructor(handlers) {
    this.#handlers = handlers;
    window.addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") {
        this.#hurry();
      }
    });
    setInterval(() => this.#look(), LOOK);
    this.#connect();
  }

  /** Follow these requests (a list of ids) from now on, or the worklist (null). */
  follow(requestIds) {
    this.#wish = requestIds
      ? { type: "follow", request_ids: requestIds }
      : { type: "follow", worklist: true };
    this.#send();
  }

  /** Whether this is news: false for a version that was seen, or an older one. */
  isNews(request) {
    const seen = this.#versions.get(request.request_id) ?? 0;
    if (request.version <= seen) {
      return false;
    }
    this.#versions.set(request.request_id, request.version);
    return true;
  }

  #connect() {
    clearTimeout(this.#timer);
    const url = new URL(page.live, window.location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#timer = 0;
    this.#asked = Date.now();
    socket.addEventListener("open", () => {
      if (socket === this.#socket) {
        this.#send();
      }
    });
    socket.addEventListener("message", (event) => {
      if (socket === this.#socket) {
        // Only now: a server without its database takes the socket and closes it at once.
        this.#wait = FIRST_WAIT;
        this.#handlers.onConnection("open");
        this.#heard = Date.now();
        this.#asked = 0;
        this.#receive(JSON.parse(event.data));
      }
    });
    socket.addEventListener("close", (event) => {
      if (socket === this.#socket) {
        this.#lose(event.code);
      }
    });
  }

  #lose(code) {
    this.#socket = null;
    if (NOT_LOGGED_IN.includes(code)) {
      this.#handlers.onConnection("refused");
      return;
    }
    this.#handlers.onConnection("lost");
    // A random part, so that not every page comes back in the same moment.
    this.#timer = setTimeout(() => this.#connect(), this.#wait * (0.5 + Math.random() / 2));
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
  }

  #hurry() {
    if (this.#timer) {
      this.#wait = FIRST_WAIT;
      this.#connect();
    } else if (this.#socket) {
      this.#send();
      setTimeout(() => this.#look(SHORT_PATIENCE), SHORT_PATIENCE + 100);
    }
  }

  /** Ask after a silence; give a socket up that does not answer. */
  #look(patience = PATIENCE) {
    if (!this.#socket) {
      return;
    }
    const now = Date.now();
    if (this.#asked && now - this.#asked >= patience) {
      const dead = this.#socket;
      this.#lose();
      // Its own "close" may come minutes later, and is ignored then.
      dead.close();
    } else if (!this.#asked && now - this.#heard >= SILENCE) {
      this.#send();
    }
  }

  #send() {
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#asked ||= Date.now();
      this.#socket.send(JSON.stringify(this.#wish));
    }
  }

  #receive(message) {
    if (message.type === "lab") {
      this.#handlers.onLabs(message.labs);
      return;
    }
    const requests = message.type === "snapshot" ? message.requests : [message.request];
    for (const request of requests) {
      if (request && this.isNews(request)) {
        this.#handlers.onRequest(request);
      }
    }
  }
}
