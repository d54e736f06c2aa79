// What every script of a page needs: its data, its texts, and the server's clock.

/** The data that the server put into the page. */
export const page = JSON.parse(document.getElementById("page").textContent);

/** Milliseconds that the server's clock is ahead of this machine's. */
const ahead = Date.parse(page.now) - Date.now();

/** The server's time now, in milliseconds since the epoch. */
export const serverNow = () => Date.now() + ahead;

/** Fill the {places} of a text. */
export function fill(text, values = {}) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** A number as the reader's language writes it. */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(page.language, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);
}

/** A point in time, in the reader's language and time zone. */
export function clock(iso, options = { timeStyle: "medium" }) {
  return new Intl.DateTimeFormat(page.language, options).format(new Date(iso));
}

/** A point in time: the hour and minute, and the date unless that is today. */
export function moment(iso) {
  const today = new Date(iso).toDateString() === new Date(serverNow()).toDateString();
  return clock(iso, { timeStyle: "short", ...(!today && { dateStyle: "medium" }) });
}

/** A duration: seconds up to two minutes, minutes and seconds up to two hours, then hours. */
export function duration(seconds, digits = 0) {
  if (seconds < 120) {
    return fill(page.texts.seconds, { seconds: number(seconds, digits) });
  }
  const whole = Math.round(seconds);
  if (whole >= 7200) {
    const hours = number(Math.floor(whole / 3600));
    return fill(page.texts.hours, { hours, minutes: Math.floor((whole % 3600) / 60) });
  }
  return fill(page.texts.minutes, { minutes: number(Math.floor(whole / 60)), seconds: whole % 60 });
}

/** Set a text only when it differs: a live region is read out at every change. */
export function say(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}
