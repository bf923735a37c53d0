// The terminal page: signs in, opens a card, and ties its parts together.

import { ApiError, forgetToken, fragment, get, isTokenLike, keepToken, rememberCard, takeToken } from './terminal/api.js';
import { clock, count, duration, make, shortCount, shortId } from './terminal/format.js';
import { Lines } from './terminal/lines.js';
import { Replay } from './terminal/replay.js';
import { Search } from './terminal/search.js';
import { Sidebar } from './terminal/sidebar.js';
import { Stream } from './terminal/stream.js';

const LEVELS = ['debug', 'info', 'warn', 'error', 'fatal'];
const REFRESH = 4_000;
const RUNS = 50;

const at = (id) => document.getElementById(id);
const state = {
  token: null, card: null, stream: null, cardsLoaded: false, paused: false, lag: null, olderRuns: null,
  levels: new Set(LEVELS), text: '', run: null,
  /** How many live entries have come, how many of those the last rate counted, and how many of each level. */
  seen: 0, counted: 0, byLevel: {},
};

const live = new Lines(at('live'), { changed: showScreen, runChosen: filterRun });
const replayed = new Lines(at('replayed'), { changed: showScreen, runChosen: filterRun });
const screen = () => (replay.run === null ? live : replayed);

const replay = new Replay(
  { bar: at('replay'), toggle: at('replay-toggle'), speeds: at('replay-speeds'), seek: at('replay-seek'),
    place: at('replay-place'), live: at('replay-live'), stop: at('replay-stop') },
  replayed,
  { send: (message) => state.stream?.send(message), ended: showMode },
);

const sidebar = new Sidebar(
  { cards: at('cards'), cardsFilter: at('cards-filter'), cardsCount: at('cards-count'), runs: at('runs'),
    runsCount: at('runs-count') },
  { card: openCard, run: filterRun, replay: (run) => { replay.start(run); showMode(); closeMenu(); } },
);

const search = new Search(
  { panel: at('found'), input: at('search'), popular: at('popular'), summary: at('found-summary'), list: at('found-list'),
    timeline: at('found-timeline'), more: at('found-more'), close: at('found-close') },
  { card: (card) => { search.close(); openCard(card); }, refused,
    run: (card, run) => { search.close(); openCard(card); if (state.run !== run) filterRun(run); } },
);

at('search').onfocus = () => search.suggest(state.token);
at('search-form').onsubmit = (event) => {
  event.preventDefault();
  const query = at('search').value.trim();
  if (query === '') search.close();
  else search.start(state.token, query);
};

// --- Signing in and out

function signIn(fault = '') {
  state.stream?.close();
  state.stream = null;
  state.token = null;
  search.close();
  at('app').hidden = true;
  at('sign-in').hidden = false;
  at('token-error').textContent = fault;
  at('token').value = '';
  at('token').focus();
}

async function start(token) {
  if (!isTokenLike(token)) { forgetToken(); signIn('That is not a token.'); return; }
  state.token = token;
  at('sign-in').hidden = true;
  at('app').hidden = false;
  showConnection('connecting');
  try {
    const me = await get(token, ['me']);
    at('who').textContent = `${me.workspace} · ${me.subject}`;
    at('who').title = `${me.role}; the token is valid until ${new Date(me.expires).toLocaleString()}`;
  } catch (error) {
    if (!refused(error)) { showConnection('waiting', 2_000); setTimeout(() => state.token === token && start(token), 2_000); }
    return;
  }
  state.cardsLoaded = false;
  const wanted = fragment().get('card');
  if (wanted) openCard(wanted); else showConnection('idle');
  refresh();
}

/** Goes back to the sign-in page if the token isn't taken any more; says whether it did. */
function refused(error) {
  if (!(error instanceof ApiError) || error.status !== 401) return false;
  forgetToken();
  signIn(`${error.message[0].toUpperCase()}${error.message.slice(1)}.`);
  return true;
}

at('sign-in-form').onsubmit = (event) => {
  event.preventDefault();
  const token = at('token').value.trim();
  keepToken(token);
  start(token);
};

at('sign-out').onclick = () => {
  forgetToken();
  closeCard();
  signIn();
};

// --- Cards and runs

let refreshing = 0;

async function refresh() {
  clearTimeout(refreshing);
  if (state.token === null) return;
  const { token, card } = state;
  try {
    if (!document.hidden) {
      const { cards } = await get(token, ['cards'], { limit: 500 });
      if (state.token !== token) return;
      sidebar.setCards(cards);
      if (!state.cardsLoaded && state.card === null && cards.length > 0) openCard(cards[0].cardId);
      state.cardsLoaded = true;
      if (card !== null && card === state.card) await loadRuns(token, card);
    }
    showScreen();
  } catch (error) {
    if (refused(error)) return;
  }
  refreshing = setTimeout(refresh, REFRESH);
}

async function loadRuns(token, card, page) {
  const answer = await get(token, ['cards', card, 'runs'], page ? { limit: RUNS, page } : { limit: RUNS });
  if (card !== state.card) return;
  sidebar.addRuns(answer.runs);
  showActiveRun(answer.runs.find((run) => run.status === 'running'));
  // The first page comes again and again; the place of the older ones is kept.
  if (page || state.olderRuns === null) state.olderRuns = answer.next ?? '';
  at('runs-more').hidden = !state.olderRuns;
}

at('runs-more').onclick = () => loadRuns(state.token, state.card, state.olderRuns).catch(refused);

function closeCard() {
  replay.stop();
  state.stream?.close();
  live.clear();
  Object.assign(state, { card: null, stream: null, paused: false, lag: null, olderRuns: null, run: null, seen: 0, counted: 0, byLevel: {} });
  showActiveRun(undefined);
  showPaused();
}

function openCard(card) {
  closeMenu();
  if (card === state.card) return;
  closeCard();
  state.card = card;
  rememberCard(card);
  document.title = `${card} · AgentWorks`;
  at('title').textContent = card;
  sidebar.select(card);
  applyFilter();
  let known = false;
  let lost = false;
  state.stream = new Stream(state.token, card, wanted(), {
    message: receive,
    ping: (millis) => { at('status-ping').textContent = `${millis.toFixed(0)} ms`; },
    refused: (error) => { if (!refused(error)) live.note(error.message, 'bad'); },
    state: (name, delay) => {
      showConnection(name, delay);
      if (name === 'waiting' && known && !lost) {
        lost = true;
        live.note('The connection was lost; once it is back, the stream goes on where it was', 'warn');
      }
      if (name !== 'open') return;
      if (lost) live.note('Connected again');
      // What belonged to the connection before has ended with it, also where the page has moved by itself.
      if (known) {
        replay.reconnected();
        state.lag = null;
        showScreen();
      }
      known = true;
      lost = false;
      if (state.paused) state.stream.send({ type: 'pause_stream' });
    },
  });
  refresh();
}

// --- What the gateway says

function receive(message) {
  if (replay.receive(message)) return;
  const { type, data } = message;
  if (type === 'log_entry') addLive([data]);
  else if (type === 'logs_batch') addLive(data);
  else if (type === 'run_summary') { sidebar.addRuns([data]); showActiveRun(data); }
  else if (type === 'gap') {
    const range = `offsets ${count(data.from)} to ${count(data.to - 1)} of ${data.topic}[${data.partition}]`;
    live.note(`Gap: ${range} are held nowhere any more`, 'warn');
  } else if (type === 'card_subscribed') {
    // It begins anew, and with it what is counted.
    live.clear();
    Object.assign(state, { lag: null, seen: 0, counted: 0, byLevel: {} });
  }
  else if (type === 'lag') showLag(data);
  else if (type === 'error') live.note(data.message, 'bad');
}

function addLive(entries) {
  // The history that comes first is no rate.
  if (state.seen === 0) state.counted = entries.length;
  state.seen += entries.length;
  for (const { level } of entries) state.byLevel[level] = (state.byLevel[level] ?? 0) + 1;
  live.add(entries);
}

function showLag(lag) {
  const wasBehind = state.lag !== null;
  state.lag = lag.entries > 0 || lag.seconds > 0 ? lag : null;
  if (state.lag && !wasBehind) live.note(`Behind the log by up to ${count(lag.entries)} records; catching up`, 'warn');
  if (!state.lag && wasBehind) live.note('Caught up with the log');
  showScreen();
}

// --- Filters: what is on the screen is filtered here, at once; what comes, by the gateway

/** What the gateway is asked for. */
const wanted = () => ({
  ...(state.levels.size < LEVELS.length && { levels: LEVELS.filter((level) => state.levels.has(level)) }),
  ...(state.text !== '' && { text: state.text }),
});

/** Changes what is wanted. Lines that were left out until now come with a new beginning. */
function changeFilter(change) {
  const [levels, text] = [new Set(state.levels), state.text.toLowerCase()];
  change();
  const wider = [...state.levels].some((level) => !levels.has(level)) || !state.text.toLowerCase().includes(text);
  applyFilter();
  if (wider) state.stream?.beginAnew(wanted());
  else state.stream?.setFilters(wanted());
}

function applyFilter() {
  const { levels, run } = state;
  const text = state.text.toLowerCase();
  const passes = (entry) => levels.has(entry.level) && (run === null || entry.runId === run)
    && (text === '' || entry.message.toLowerCase().includes(text));
  live.filter(passes);
  replayed.filter(passes);
  for (const chip of at('levels').children) chip.setAttribute('aria-pressed', String(levels.has(chip.dataset.level)));
  at('run-filter').hidden = run === null;
  at('run-filter').textContent = run === null ? '' : `run ${shortId(run)} ✕`;
  showScreen();
}

function filterRun(run) {
  state.run = run === state.run ? null : run;
  applyFilter();
  closeMenu();
}

function toggleLevel(level) {
  changeFilter(() => { if (!state.levels.delete(level)) state.levels.add(level); });
}

for (const level of LEVELS) {
  const chip = make('button', `chip level-chip is-${level}`);
  chip.type = 'button';
  chip.dataset.level = level;
  chip.append(make('span', '', level), make('span', 'chip-count'));
  chip.onclick = () => toggleLevel(level);
  at('levels').append(chip);
}

let typing = 0;
at('filter').oninput = () => {
  clearTimeout(typing);
  typing = setTimeout(() => changeFilter(() => { state.text = at('filter').value.slice(0, 250); }), 250);
};
at('run-filter').onclick = () => filterRun(state.run);

function toggleWrap() {
  const wraps = document.body.classList.toggle('no-wrap');
  at('wrap').setAttribute('aria-pressed', String(!wraps));
}
at('wrap').onclick = toggleWrap;

// --- Pausing and jumping

function togglePause() {
  if (replay.run !== null) { replay.toggle(); return; }
  if (state.card === null) return;
  state.paused = !state.paused;
  state.stream?.send({ type: state.paused ? 'pause_stream' : 'resume_stream' });
  showPaused();
}
at('pause').onclick = togglePause;

function showPaused() {
  at('pause').textContent = state.paused ? 'Resume' : 'Pause';
  at('pause').setAttribute('aria-pressed', String(state.paused));
  live.hold(state.paused || replay.run !== null);
}

at('jump').onclick = () => {
  if (screen() === live && state.lag !== null) {
    state.lag = null;
    live.note('Jumped to the newest lines; those between are in the log');
    state.stream?.jumpToLive();
  }
  screen().jumpToEnd();
};

function showMode() {
  const replaying = replay.run !== null;
  at('replay').hidden = !replaying;
  at('live').hidden = replaying;
  at('replayed').hidden = !replaying;
  at('pause').hidden = replaying;
  showPaused();
  replayed.hold(!replaying);
  showScreen();
}

// --- What is shown around the lines

function showConnection(name, delay) {
  const pill = at('connection');
  const words = { connecting: 'connecting', open: 'live', waiting: `retrying in ${duration(delay ?? 0)}`, closed: 'closed', idle: 'ready' };
  pill.textContent = words[name];
  pill.className = `pill ${name}`;
}

function showActiveRun(run) {
  at('active-run').replaceChildren();
  if (run?.status !== 'running') return;
  at('active-run').append(make('span', 'run-status running', 'running'), make('span', 'mono', shortId(run.runId)));
  at('active-run').title = `Run ${run.runId}, since ${clock(run.startTime)}`;
}

let showing = 0;

/** Brings everything around the lines up to date, at most once a frame. */
function showScreen() {
  if (showing === 0) showing = requestAnimationFrame(() => { showing = 0; showScreenNow(); });
}

function showScreenNow() {
  const lines = screen();
  const behind = !lines.following || (lines === live && state.lag !== null);
  at('jump').hidden = !behind;
  const waiting = lines.waiting > 0 ? ` · ${shortCount(lines.waiting)} new` : '';
  at('jump').textContent = lines === live ? `Jump to live${waiting}` : `Jump to the newest${waiting}`;
  at('status-lines').textContent = `${count(lines.shown)} lines`;
  at('status-lag').textContent = state.lag ? `behind by ${shortCount(state.lag.entries)} records, ${duration(state.lag.seconds * 1000)}` : '';
  for (const chip of at('levels').children) {
    const number = state.byLevel[chip.dataset.level];
    chip.lastElementChild.textContent = number ? shortCount(number) : '';
  }
  at('empty').hidden = !lines.isEmpty;
  if (lines.isEmpty) showEmpty();
}

function showEmpty() {
  const box = at('empty');
  if (state.card === null) {
    const known = state.cardsLoaded ? 'Nobody has written to this workspace yet. In a shell:' : 'Pick a card.';
    box.replaceChildren(make('p', '', known));
    if (state.cardsLoaded) box.append(make('code', '', 'echo hello | agentworks ship --card hello'));
    return;
  }
  box.replaceChildren(make('p', '', 'Nothing here yet: waiting for the first line.'),
    make('code', '', `echo hello | agentworks ship --card '${state.card.replaceAll("'", "'\\''")}'`));
}

setInterval(() => {
  const rate = state.seen - state.counted;
  state.counted = state.seen;
  at('status-rate').textContent = rate > 0 ? `${count(rate)}/s` : '';
}, 1_000);

// --- The menu of a narrow screen, the keyboard, the network

function setMenu(open) {
  at('sidebar').classList.toggle('open', open);
  at('shade').hidden = !open;
  at('menu').setAttribute('aria-expanded', String(open));
}
const closeMenu = () => setMenu(false);
at('menu').onclick = () => setMenu(!at('sidebar').classList.contains('open'));
at('shade').onclick = closeMenu;
at('help').onclick = () => at('help-dialog').showModal();

const KEYS = {
  '/': () => at('filter').focus(),
  p: togglePause,
  w: toggleWrap,
  End: () => screen().jumpToEnd(),
  '?': () => at('help-dialog').showModal(),
  s: () => at('search').focus(),
  Escape: () => (search.isOpen ? search.close() : replay.stop()),
};

document.addEventListener('keydown', (event) => {
  if (state.token === null || event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented || at('help-dialog').open) return;
  if (event.target.matches('input, textarea')) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  const action = KEYS[event.key] ?? (LEVELS[Number(event.key) - 1] && (() => toggleLevel(LEVELS[Number(event.key) - 1])));
  if (!action) return;
  event.preventDefault();
  action();
});

addEventListener('online', () => state.stream?.hurry());
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  state.stream?.hurry();
  refresh();
});
addEventListener('hashchange', () => {
  const token = takeToken();
  if (token !== null && token !== state.token) { closeCard(); start(token); return; }
  const card = fragment().get('card');
  if (card && state.token !== null) openCard(card);
});

const token = takeToken();
if (token === null) signIn();
else start(token);
