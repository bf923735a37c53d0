// One line of the screen: an entry, or a note of the terminal's own.

import * as ansi from './ansi.js';
import { clock, make, shortId, tint } from './format.js';

/** Fields that a row shows itself, or that say nothing to a reader. */
const SHOWN = new Set(['timestamp', 'level', 'source', 'component', 'message', 'data', 'position', 'cardId', 'workspaceId',
  'sessionId', 'replayPosition', 'replayTotal', 'replayProgress', 'originalTimestamp', 'replayTimestamp']);

const items = new WeakMap();

/** The item that a row was made of. */
export const itemOf = (row) => items.get(row);

/** Makes the row of an item. */
export function rowOf(item) {
  const row = item.note === undefined ? entryRow(item.entry) : noteRow(item);
  items.set(row, item);
  if (item.open) toggle(row);
  return row;
}

function entryRow(entry) {
  const row = make('div', `row ${levelClass(entry.level)}`);
  const time = make('time', 'time', clock(entry.timestamp));
  time.title = entry.timestamp;
  const where = make('span', 'where');
  where.append(make('span', 'source', entry.source), make('span', 'component', `/${ansi.strip(entry.component ?? '')}`));
  where.title = `${entry.source}/${entry.component}`;
  const run = make('button', `run ${tint(entry.runId)}`, ansi.strip(shortId(entry.runId)));
  run.type = 'button';
  run.tabIndex = -1;
  run.title = `Run ${entry.runId}: show its lines only`;
  const message = make('span', 'message');
  ansi.append(message, entry.message);
  const more = make('button', 'more-button', entry.data ? '{…}' : '›');
  more.type = 'button';
  more.tabIndex = -1;
  more.setAttribute('aria-expanded', 'false');
  more.setAttribute('aria-label', 'All of this line');
  if (entry.data) more.classList.add('has-data');
  row.append(time, make('span', 'level', entry.level), where, run, message, more);
  return row;
}

/** A class name is made of a known level only, whatever the line says. */
const levelClass = (level) => (['debug', 'info', 'warn', 'error', 'fatal'].includes(level) ? `is-${level}` : 'is-info');

function noteRow({ note, tone }) {
  const row = make('div', `row note ${tone}`);
  row.append(make('span', 'message', note));
  return row;
}

/** Shows or hides all that an entry says, under its row. */
export function toggle(row) {
  const item = itemOf(row);
  const shown = row.querySelector('.details');
  const button = row.querySelector('.more-button');
  if (!button) return;
  item.open = !shown;
  button.setAttribute('aria-expanded', String(item.open));
  if (shown) shown.remove();
  else row.append(details(item.entry));
}

function details(entry) {
  const box = make('div', 'details');
  if (entry.data) box.append(json(entry.data));
  const fields = make('dl', 'fields');
  for (const [name, value] of [['timestamp', entry.timestamp], ...Object.entries(entry).filter(([name]) => !SHOWN.has(name))]) {
    fields.append(make('dt', '', name), make('dd', '', ansi.strip(Array.isArray(value) ? value.join(', ') : String(value))));
  }
  box.append(fields);
  return box;
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Structured data, indented and coloured. */
function json(data) {
  const text = JSON.stringify(data, null, 2);
  const box = make('pre', 'json');
  let from = 0;
  for (const match of text.matchAll(TOKEN)) {
    const [token, string, colon] = match;
    box.append(text.slice(from, match.index));
    const kind = colon ? 'key' : string ? 'string' : /[a-z]/.test(token[0]) ? 'word' : 'number';
    box.append(make('span', `json-${kind}`, string ?? token), colon ?? '');
    from = match.index + token.length;
  }
  box.append(text.slice(from));
  return box;
}
