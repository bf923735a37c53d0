// The screen: the newest few thousand lines, so that no rate of lines freezes the page.
//
// Items wait in a queue and are taken many at a time: at the next frame, or ten times a second once they come fast, and
// less often where that is too much. Rows stand in chunks. Of what was taken only the end, which is what is in sight, is
// made into rows at once; the chunks before it keep their items, and are filled when they come near the view. While the
// reader has scrolled up nothing moves: items stay in the queue until they come back down. What overflows the queue is
// counted and said in a note.

import { count } from './format.js';
import { itemOf, rowOf, toggle } from './row.js';

/** How many lines are kept. */
const KEPT = 5_000;
/** How many may wait: few enough that the note of those left out is kept with them. */
const WAITING = 4_800;
const CHUNK = 100;
/** The height of a row of one line, in pixels: what an unfilled chunk's height is estimated by. */
const ROW = 21;
/** How near to the end counts as the end, in pixels. */
const NEAR = 24;
/** How many of the newest lines are made into rows at once: about what is in sight. */
const IN_SIGHT = 60;
/** Once more lines than this are taken at once, they come fast. */
const FAST = 40;
/** Then so long passes between two takings, in milliseconds, and at least so many times what one takes. */
const FAST_INTERVAL = 100;
const REST = 3;

export class Lines {
  #box; #changed; #items = []; #queue = []; #skipped = 0; #next = 0; #shown = 0;
  #scheduled = false; #interval = 0; #passes = () => true; #following = true; #held = false; #chosen = null; #lastTop = 0;
  /** The items of chunks that aren't filled yet. */
  #unfilled = new WeakMap();
  #nearView;

  /** Shows lines in `box`. `changed()` is called when what the getters say may have changed. */
  constructor(box, { changed, runChosen }) {
    this.#box = box;
    this.#changed = changed;
    this.#nearView = new IntersectionObserver((seen) => seen.forEach((one) => one.isIntersecting && this.#fill(one.target)),
      { root: box, rootMargin: '600px' });
    box.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    box.addEventListener('keydown', (event) => this.#key(event));
    box.addEventListener('click', (event) => {
      const row = event.target.closest('.row');
      if (event.target.closest('.run')) runChosen(itemOf(row).entry.runId);
      else if (event.target.closest('.more-button')) this.#toggle(row);
    });
    new ResizeObserver(() => { if (this.#following) this.#toEnd(); }).observe(box);
  }

  /** Whether new lines are shown as they come. */
  get following() { return this.#following; }

  /** How many lines wait to be shown. */
  get waiting() { return this.#queue.length + this.#skipped; }

  /** How many entries are on the screen: those kept that pass the filter. */
  get shown() { return this.#shown; }

  /** Whether there is nothing at all, also no note. */
  get isEmpty() { return this.#items.length === 0 && this.#queue.length === 0; }

  /** Adds entries, oldest first. */
  add(entries) {
    for (const entry of entries) this.#queue.push({ entry });
    const over = this.#queue.length - WAITING;
    if (over >= CHUNK) this.#skipped += this.#queue.splice(0, over).filter((item) => item.entry).length;
    this.#schedule();
  }

  /** Adds a note of the terminal's own; `tone` is `quiet`, `warn` or `bad`. */
  note(note, tone = 'quiet') {
    this.#queue.push({ note, tone });
    this.#schedule();
  }

  /** While held, lines wait: for a screen that is not in view, or a stream that is paused. */
  hold(held) {
    this.#held = held;
    if (!held && this.#following) this.jumpToEnd();
  }

  /** Forgets all lines. */
  clear() {
    this.#items = [];
    this.#queue = [];
    this.#skipped = 0;
    this.#erase();
    this.#following = true;
    this.#changed();
  }

  /** Shows only entries that pass. Notes are always shown. */
  filter(passes) {
    this.#passes = passes;
    this.#erase();
    this.#draw(this.#items);
    this.jumpToEnd();
  }

  /** Shows the newest lines, and follows again. */
  jumpToEnd() {
    this.#following = true;
    this.#toEnd();
    this.#schedule();
    this.#changed();
  }

  #erase() {
    this.#box.replaceChildren();
    this.#nearView.disconnect();
    this.#chosen = null;
    this.#shown = 0;
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const next = () => requestAnimationFrame(() => this.#take());
    if (this.#interval > 0) setTimeout(next, this.#interval);
    else next();
  }

  #take() {
    this.#scheduled = false;
    if (this.#following && !this.#held && this.#queue.length > 0) {
      const begun = performance.now();
      const taken = this.#queue;
      const isFast = taken.length > FAST;
      this.#queue = [];
      if (this.#skipped > 0) {
        const note = `${count(this.#skipped)} lines came faster than they could be shown here; they are in the log`;
        taken.unshift({ note, tone: 'quiet' });
        this.#skipped = 0;
      }
      for (const item of taken) item.index = this.#next++;
      this.#items.push(...taken);
      this.#draw(taken);
      this.#evict();
      this.#toEnd();
      this.#interval = isFast ? Math.max(FAST_INTERVAL, REST * (performance.now() - begun)) : 0;
    }
    this.#changed();
  }

  #draw(items) {
    const passing = items.filter((item) => !item.entry || this.#passes(item.entry));
    const inSight = Math.max(0, passing.length - IN_SIGHT);
    for (let from = 0; from < inSight; from += CHUNK) {
      const later = passing.slice(from, Math.min(from + CHUNK, inSight));
      const chunk = this.#newChunk();
      this.#count(chunk, later);
      this.#unfilled.set(chunk, later);
      chunk.style.blockSize = `${later.length * ROW}px`;
      this.#nearView.observe(chunk);
    }
    let chunk = this.#box.lastElementChild;
    for (const item of passing.slice(inSight)) {
      if (!chunk || this.#unfilled.has(chunk) || chunk.childElementCount >= CHUNK) chunk = this.#newChunk();
      this.#count(chunk, [item]);
      chunk.append(rowOf(item));
    }
  }

  /** A chunk at the end. The one before is done, and need not be laid out while it is out of sight. */
  #newChunk() {
    const before = this.#box.lastElementChild;
    if (before) {
      before.style.containIntrinsicBlockSize = `auto ${before.childElementCount * ROW}px`;
      before.classList.add('sealed');
    }
    const chunk = document.createElement('div');
    chunk.className = 'chunk';
    chunk.dataset.entries = 0;
    this.#box.append(chunk);
    return chunk;
  }

  #count(chunk, items) {
    const entries = items.filter((item) => item.entry).length;
    this.#shown += entries;
    chunk.dataset.entries = Number(chunk.dataset.entries) + entries;
    chunk.dataset.last = items.at(-1).index;
  }

  #fill(chunk) {
    const items = this.#unfilled.get(chunk);
    if (!items) return;
    this.#unfilled.delete(chunk);
    this.#nearView.unobserve(chunk);
    chunk.append(...items.map(rowOf));
    chunk.style.blockSize = '';
    chunk.style.containIntrinsicBlockSize = `auto ${items.length * ROW}px`;
    if (this.#following) this.#toEnd();
  }

  #evict() {
    const over = this.#items.length - KEPT;
    if (over < CHUNK) return;
    this.#items.splice(0, over);
    const first = this.#items[0].index;
    while (Number(this.#box.firstElementChild?.dataset.last) < first) {
      const chunk = this.#box.firstElementChild;
      this.#shown -= Number(chunk.dataset.entries);
      this.#nearView.unobserve(chunk);
      chunk.remove();
    }
  }

  #toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#lastTop = this.#box.scrollTop;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#box;
    const before = this.#following;
    const isAtEnd = scrollHeight - scrollTop - clientHeight <= NEAR;
    if (isAtEnd && scrollTop > this.#lastTop) this.#following = true;
    else if (!isAtEnd && scrollTop < this.#lastTop) this.#following = false;
    this.#lastTop = scrollTop;
    if (before !== this.#following) {
      if (this.#following) this.#schedule();
      this.#changed();
    }
  }

  #toggle(row) {
    toggle(row);
    if (!itemOf(row).open) return;
    // Whoever reads a line wants it to stay.
    this.#following = false;
    this.#reveal(row);
    this.#changed();
  }

  /** Scrolls a row into view without that counting as the reader's own scrolling. */
  #reveal(row) {
    row.scrollIntoView({ block: 'nearest' });
    this.#lastTop = this.#box.scrollTop;
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === 'End') this.jumpToEnd();
    else if (event.key === 'Enter' && this.#chosen?.isConnected) this.#toggle(this.#chosen);
    else if (event.key === 'ArrowUp') this.#choose(-1);
    else if (event.key === 'ArrowDown') this.#choose(1);
    else return;
    event.preventDefault();
  }

  #choose(step) {
    const rows = [...this.#box.querySelectorAll('.row')];
    const at = this.#chosen?.isConnected ? rows.indexOf(this.#chosen) + step : rows.length - 1;
    const row = rows[at];
    if (!row) return;
    this.#chosen?.classList.remove('chosen');
    row.classList.add('chosen');
    this.#chosen = row;
    this.#following = at === rows.length - 1 && this.#following;
    this.#reveal(row);
    this.#changed();
  }
}
