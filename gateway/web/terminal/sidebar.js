// The lists of cards and of a card's runs.

import * as ansi from './ansi.js';
import { ago, cost, count, duration, make, shortCount, shortId, tint } from './format.js';

export class Sidebar {
  #parts; #on; #cards = []; #card = null; #runs = new Map();

  /** Callbacks: `card(id)` when one is chosen, `replay(run)`, `run(run)` when one's lines are wanted. */
  constructor(parts, callbacks) {
    this.#parts = parts;
    this.#on = callbacks;
    parts.cardsFilter.oninput = () => this.#showCards();
    parts.cardsFilter.onkeydown = (event) => {
      const wanted = parts.cardsFilter.value.trim();
      if (event.key !== 'Enter' || !wanted) return;
      const exact = this.#cards.some((card) => card.cardId === wanted);
      const matching = this.#matching();
      callbacks.card(!exact && matching.length === 1 ? matching[0].cardId : wanted);
      parts.cardsFilter.value = '';
      this.#showCards();
    };
  }

  /** The workspace's cards, the newest first. */
  setCards(cards) {
    this.#cards = cards;
    this.#showCards();
  }

  /** Marks a card as the one that is watched; its runs are not known yet. */
  select(card) {
    this.#card = card;
    this.#runs.clear();
    this.#showCards();
    this.#showRuns();
  }

  /** Adds runs, or brings those that are there up to date. */
  addRuns(runs) {
    for (const run of runs) this.#runs.set(run.runId, run);
    this.#showRuns();
  }

  #matching() {
    const text = this.#parts.cardsFilter.value.trim().toLowerCase();
    return this.#cards.filter((card) => card.cardId.toLowerCase().includes(text));
  }

  #showCards() {
    const cards = this.#matching();
    if (this.#card !== null && !this.#cards.some((card) => card.cardId === this.#card) && !this.#parts.cardsFilter.value) {
      cards.unshift({ cardId: this.#card, lastSeen: null });
    }
    this.#parts.cardsCount.textContent = this.#cards.length === 0 ? '' : count(this.#cards.length);
    sync(this.#parts.cards, cards, (card) => card.cardId, () => this.#cardItem(), (item, card) => {
      const button = item.firstElementChild;
      const [name, time] = button.children;
      name.textContent = ansi.strip(card.cardId);
      // It is known to the minute only.
      const isNow = card.lastSeen !== null && Date.now() - Date.parse(card.lastSeen) < 90_000;
      time.textContent = card.lastSeen === null ? 'new' : isNow ? 'now' : ago(card.lastSeen);
      button.title = card.cardId;
      if (card.cardId === this.#card) button.setAttribute('aria-current', 'true');
      else button.removeAttribute('aria-current');
      button.onclick = () => this.#on.card(card.cardId);
    });
  }

  #cardItem() {
    const item = make('li');
    const button = make('button', 'card');
    button.type = 'button';
    button.append(make('span', 'card-name'), make('span', 'quiet'));
    item.append(button);
    return item;
  }

  #showRuns() {
    const runs = [...this.#runs.values()].sort((a, b) => Date.parse(b.startTime) - Date.parse(a.startTime));
    this.#parts.runsCount.textContent = runs.length === 0 ? '' : count(runs.length);
    sync(this.#parts.runs, runs, (run) => run.runId, () => this.#runItem(), (item, run) => this.#fillRun(item, run));
  }

  #runItem() {
    const item = make('li', 'run-item');
    const name = make('button', 'run-name');
    name.type = 'button';
    const replay = make('button', 'button replay-button', '▶ Replay');
    replay.type = 'button';
    item.append(make('span', 'run-status'), name, replay, make('span', 'run-facts'));
    return item;
  }

  #fillRun(item, run) {
    const [status, name, replay, facts] = item.children;
    const known = ['running', 'completed', 'failed', 'cancelled'].includes(run.status) ? run.status : 'running';
    status.className = `run-status ${known}`;
    status.textContent = known;
    name.className = `run-name ${tint(run.runId)}`;
    name.textContent = ansi.strip(shortId(run.runId));
    name.title = `${run.runId}${run.reason ? `: ${run.reason}` : ''}\nShow its lines only`;
    name.onclick = () => this.#on.run(run.runId);
    replay.onclick = () => this.#on.replay(run.runId);
    replay.setAttribute('aria-label', `Replay run ${run.runId}`);
    const lasted = run.duration ?? (run.status === 'running' ? Date.now() - Date.parse(run.startTime) : NaN);
    const told = [
      [duration(lasted)], [`${run.incomplete ? 'at least ' : ''}${many(run.logCount, 'line')}`],
      [run.errorCount > 0 && many(run.errorCount, 'error'), 'bad'],
      [run.warningCount > 0 && many(run.warningCount, 'warning'), 'warn'],
      [run.cost !== undefined && cost(run.cost)],
      [run.tokensUsed !== undefined && many(run.tokensUsed, 'token')],
      [run.exitCode > 0 && `exit ${run.exitCode}`, 'bad'],
      [`${ago(run.startTime)}${ago(run.startTime) === 'now' ? '' : ' ago'}`],
    ];
    facts.replaceChildren(...told.filter(([text]) => text).map(([text, tone]) => make('span', tone ?? '', text)));
  }
}

/** `1 line`, `2.5K lines`. */
const many = (number, what) => `${shortCount(number)} ${what}${number === 1 ? '' : 's'}`;

/** Makes a list's children those of `items`, keeping the elements that are there, so that focus and hover stay. */
function sync(list, items, key, build, fill) {
  const there = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let at = list.firstElementChild;
  for (const item of items) {
    const element = there.get(key(item)) ?? build();
    there.delete(key(item));
    element.dataset.key = key(item);
    fill(element, item);
    if (element === at) at = at.nextElementSibling;
    else list.insertBefore(element, at);
  }
  for (const element of there.values()) element.remove();
}
