// One slice and its outline on the screen, always of the same slice.
import { page } from "./page.js";

/** Images that are kept decoded; the browser's own cache holds the rest. */
const KEPT = 60;

/** The image and the outline over it. They change together, when the image is there. */
export class Picture {
  #image = document.getElementById("slice-image");
  #outline = document.getElementById("outline");
  #message = document.getElementById("screen-message");
  #hint = this.#message.textContent;
  #loaded = new Map();
  #wanted = "";

  /** Show the image at `address` with `{index, label, path, box}`. */
  async show(address, slice) {
    this.#wanted = `${address} ${slice.path.length}`;
    const mine = this.#wanted;
    try {
      const image = await this.#load(address);
      if (mine === this.#wanted) {
        this.#image.src = image.src;
        this.#draw(slice);
        this.#message.hidden = true;
      }
    } catch {
      this.#loaded.delete(address);
      const why = mine === this.#wanted ? await whyNot(address) : "";
      if (mine === this.#wanted) {
        this.#blank(why);
      }
    }
  }

  /** Load an image that will probably be asked for next. */
  fetchAhead(address) {
    this.#load(address).catch(() => this.#loaded.delete(address));
  }

  /** Show nothing. */
  clear() {
    this.#wanted = "";
    this.#blank(this.#hint);
  }

  /** Switch the outline on or off. */
  setOutlineVisible(visible) {
    this.#outline.toggleAttribute("hidden", !visible);
  }

  #load(address) {
    let loading = this.#loaded.get(address);
    if (!loading) {
      const image = new Image();
      image.src = address;
      loading = image.decode().then(() => image);
      this.#loaded.set(address, loading);
      if (this.#loaded.size > KEPT) {
        this.#loaded.delete(this.#loaded.keys().next().value);
      }
    }
    return loading;
  }

  #draw(slice) {
    this.#image.alt = slice.label;
    this.#image.dataset.index = slice.index;
    this.#outline.dataset.index = slice.index;
    if (slice.box) {
      this.#outline.setAttribute("viewBox", slice.box);
    }
    for (const path of this.#outline.querySelectorAll("path")) {
      path.setAttribute("d", slice.path);
    }
  }

  #blank(text) {
    this.#image.removeAttribute("src");
    this.#draw({ label: "", index: "", path: "", box: "" });
    this.#message.textContent = text;
    this.#message.hidden = false;
  }
}

/** An image that fails does not say why: ask again for the status alone. */
async function whyNot(address) {
  const { texts } = page;
  const known = { 401: texts.log_in, 409: texts.series_changed };
  try {
    const answer = await fetch(address, { method: "HEAD", cache: "no-store" });
    return known[answer.status] ?? texts.image_failed;
  } catch {
    return texts.image_failed;
  }
}
