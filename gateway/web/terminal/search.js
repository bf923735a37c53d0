// Searching all that the token sees: a box, hits with what was looked for marked, and what stands around each.

import * as ansi from './ansi.js';
import { get } from './api.js';
import { clock, count, make, shortId, tint } from './format.js';

const PAGE = 50;
const AROUND = 5;
const LEVELS = ['debug', 'info', 'warn', 'error', 'fatal'];
const DAY = new Intl.DateTimeFormat('en-CA', { year: 'numeric', month: '2-digit', day: '2-digit' });

/** The parts of a query that are words of a message: `"…"`, words, and values of `message:`. */
const TERM = /(-|NOT\s+)?(?:([\w.]+):)?(?:"((?:[^"\\]|\\.)*)"|([^\s()"]+))/g;

/** What of a query can be marked in messages, as a regular expression; null if there is nothing. */
export function marker(query) {
  const words = [];
  for (const [, not, field, phrase, word] of query.matchAll(TERM)) {
    if (not || (field && !['message', 'msg'].includes(field.toLowerCase()))) continue;
    const text = phrase?.replace(/\\(.)/g, '$1') ?? word.replace(/[~^][\d.]*$/, '').replace(/^[+!]/, '');
    if (['AND', 'OR', 'NOT', '&&', '||'].includes(text)) continue;
    for (const part of text.split(/[*?]+/)) if (/[\p{L}\p{N}]/u.test(part)) words.push(part);
  }
  if (words.length === 0) return null;
  const escaped = words.sort((a, b) => b.length - a.length).map((part) => part.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'));
  return new RegExp(escaped.join('|'), 'giu');
}

export class Search {
  #parts; #on; #query = ''; #cursor = null; #token = null; #marks = null; #asked = 0;

  /** Callbacks: `card(id)` and `run(card, run)` when one is chosen, `refused(error)` says whether the token isn't taken. */
  constructor(parts, callbacks) {
    this.#parts = parts;
    this.#on = callbacks;
    parts.more.onclick = () => this.#page();
    parts.close.onclick = () => this.close();
    parts.list.onclick = (event) => this.#clicked(event);
  }

  get isOpen() { return !this.#parts.panel.hidden; }

  /** Searches, and shows what is found. */
  start(token, query) {
    this.#token = token;
    this.#query = query;
    this.#marks = marker(query);
    this.#cursor = null;
    this.#parts.panel.hidden = false;
    this.#parts.list.replaceChildren();
    this.#parts.timeline.replaceChildren();
    this.#parts.more.hidden = true;
    this.#page();
  }

  close() {
    this.#asked += 1;
    this.#parts.panel.hidden = true;
    this.#parts.list.replaceChildren();
  }

  /** Offers the queries that are asked most. */
  async suggest(token) {
    const { queries } = await get(token, ['queries', 'popular'], { limit: 10 }).catch(() => ({ queries: [] }));
    this.#parts.popular.replaceChildren(...queries.map(({ query }) => {
      const option = make('option');
      option.value = query;
      return option;
    }));
  }

  async #page() {
    const asked = (this.#asked += 1);
    const { summary, more, list } = this.#parts;
    const first = this.#cursor === null;
    more.hidden = true;
    summary.className = 'quiet';
    if (first) summary.textContent = 'Searching…';
    try {
      const found = await get(this.#token, ['search'], { q: this.#query, limit: PAGE, ...(!first && { cursor: this.#cursor }) });
      if (asked !== this.#asked) return;
      list.append(...found.logs.map((entry) => this.#hit(entry)));
      this.#cursor = found.cursor ?? null;
      more.hidden = this.#cursor === null;
      const missing = found.incomplete ? ` · not all was searched: ${found.incomplete.join('; ')}` : '';
      summary.textContent = `${count(found.totalCount)} found in ${count(found.executionTime)} ms${missing}`;
      if (missing) summary.className = 'warn';
      if (first) this.#showTimeline(found.timelineData);
    } catch (error) {
      if (asked !== this.#asked || this.#on.refused(error)) return;
      summary.className = 'bad';
      summary.textContent = error.message;
      if (error.at !== undefined) {
        this.#parts.input.focus();
        this.#parts.input.setSelectionRange(error.at, error.at + 1);
      }
    }
  }

  #showTimeline(points) {
    const most = Math.max(1, ...points.map((point) => point.count));
    this.#parts.timeline.replaceChildren(...points.slice(-400).map((point) => {
      const bar = make('span', 'found-bar');
      bar.style.blockSize = point.count === 0 ? '0' : `${Math.max(6, 100 * point.count / most)}%`;
      bar.title = `${DAY.format(new Date(point.timestamp))} ${clock(point.timestamp)}: ${count(point.count)}`;
      return bar;
    }));
  }

  #hit(entry) {
    const item = make('li', 'found-item');
    item.entry = entry;
    item.append(this.#line(entry, 'hit'));
    return item;
  }

  #line(entry, kind) {
    const level = LEVELS.includes(entry.level) ? entry.level : 'info';
    const row = make('div', `found-row ${kind} is-${level}`);
    const time = make('time', 'time', `${DAY.format(new Date(entry.timestamp))} ${clock(entry.timestamp)}`);
    time.title = entry.timestamp;
    const card = make('button', 'found-card', ansi.strip(entry.cardId));
    card.type = 'button';
    card.title = `Card ${entry.cardId}: open it`;
    const run = make('button', `run ${tint(entry.runId)}`, ansi.strip(shortId(entry.runId)));
    run.type = 'button';
    run.title = `Run ${entry.runId}: open its card, and show its lines only`;
    const message = make(kind === 'hit' ? 'button' : 'span', 'message');
    if (kind === 'hit') {
      message.type = 'button';
      message.title = 'Show what stands around this line';
      message.setAttribute('aria-expanded', 'false');
    }
    this.#mark(message, ansi.strip(entry.message));
    row.append(time, make('span', 'level', level), card, run, message);
    return row;
  }

  /** Appends a text, with what was looked for marked. */
  #mark(parent, text) {
    let from = 0;
    for (const match of this.#marks ? text.matchAll(this.#marks) : []) {
      parent.append(text.slice(from, match.index), make('mark', '', match[0]));
      from = match.index + match[0].length;
    }
    parent.append(text.slice(from));
  }

  #clicked(event) {
    const item = event.target.closest('.found-item');
    if (!item) return;
    const { entry } = item;
    if (event.target.closest('.found-card')) this.#on.card(entry.cardId);
    else if (event.target.closest('.run')) this.#on.run(entry.cardId, entry.runId);
    else if (event.target.closest('.hit .message')) this.#toggle(item);
  }

  /** Shows or hides what stands around a hit in its run. */
  async #toggle(item) {
    const { entry } = item;
    const message = item.querySelector('.hit .message');
    const around = [...item.querySelectorAll('.around, .found-fault')];
    around.forEach((row) => row.remove());
    message.setAttribute('aria-expanded', String(around.length === 0));
    if (around.length > 0) return;
    try {
      const context = await get(this.#token, ['entries', entry.position, 'context'],
        { card: entry.cardId, before: AROUND, after: AROUND });
      if (message.getAttribute('aria-expanded') !== 'true' || item.querySelector('.around')) return;
      item.prepend(...context.before.map((one) => this.#line(one, 'around')));
      item.append(...context.after.map((one) => this.#line(one, 'around')));
    } catch (error) {
      if (!this.#on.refused(error)) item.append(make('p', 'found-fault bad', error.message));
    }
  }
}
