// Numbers and times as people read them.

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23',
});
const COUNT = new Intl.NumberFormat('en-GB');
const SHORT_COUNT = new Intl.NumberFormat('en-GB', { notation: 'compact', maximumFractionDigits: 1 });

/** The local time of day of an instant, to the millisecond: `10:15:30.123`. */
export function clock(instant) {
  const time = new Date(instant);
  return Number.isNaN(time.getTime()) ? '--:--:--.---' : CLOCK.format(time).replace(',', '.');
}

/** How long ago an instant was, in one unit: `12 s`, `3 min`, `5 h`, `2 d`. */
export function ago(instant) {
  const seconds = Math.max(0, (Date.now() - Date.parse(instant)) / 1000);
  if (Number.isNaN(seconds)) return '';
  if (seconds < 5) return 'now';
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** A duration in milliseconds: `850 ms`, `12.3 s`, `4 min 05 s`, `2 h 07 min`. */
export function duration(millis) {
  if (!Number.isFinite(millis)) return '';
  if (millis < 1000) return `${Math.round(millis)} ms`;
  const seconds = millis / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const two = (number) => String(Math.floor(number)).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${two((seconds % 3600) / 60)} min`;
}

/** A count with its thousands set apart: `12,345`. */
export const count = (number) => COUNT.format(number);

/** A count in few characters: `12.3K`. */
export const shortCount = (number) => SHORT_COUNT.format(number);

/** US dollars, with as many decimals as small sums need. */
export function cost(dollars) {
  return `$${dollars.toFixed(dollars < 0.1 ? 4 : 2)}`;
}

/** The end of an id, which is where ids that begin with a time differ. */
export const shortId = (id) => (id.length > 10 ? `…${id.slice(-8)}` : id);

/** One of twelve colour classes for an id: the same id has the same colour everywhere. */
export function tint(id) {
  let hash = 0;
  for (let at = 0; at < id.length; at += 1) hash = (hash * 31 + id.charCodeAt(at)) >>> 0;
  return `tint-${hash % 12}`;
}

/** Makes an element: `make('span', 'quiet', 'text')`. Text is only ever set as text. */
export function make(tag, className = '', text = '') {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}
