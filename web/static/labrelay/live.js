// The socket: follows requests, comes back after an interruption, drops what is not newer.
import { page } from "./page.js";

/** Milliseconds before the first new attempt; doubled up to LONGEST_WAIT. */
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15000;

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
  #wish = null;
  #socket = null;
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
    socket.addEventListener("open", () => {
      this.#wait = FIRST_WAIT;
      this.#handlers.onConnection("open");
      this.#send();
    });
    socket.addEventListener("message", (event) => this.#receive(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => {
      if (NOT_LOGGED_IN.includes(event.code)) {
        this.#handlers.onConnection("refused");
        return;
      }
      this.#handlers.onConnection("lost");
      // A random part, so that not every page comes back in the same moment.
      this.#timer = setTimeout(() => this.#connect(), this.#wait * (0.5 + Math.random() / 2));
      this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    });
  }

  #hurry() {
    if (this.#socket.readyState === WebSocket.CLOSED && this.#timer) {
      this.#wait = FIRST_WAIT;
      this.#connect();
    }
  }

  #send() {
    if (this.#wish && this.#socket.readyState === WebSocket.OPEN) {
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
