// The WebSocket of a card: it reconnects by itself and goes on where it was, by the position of the last frame. What the
// gateway filters out is asked for in the URL, and changed in flight.

import { ApiError, get } from './api.js';

const FIRST_DELAY = 250;
const LONGEST_DELAY = 15_000;
const PING_EVERY = 20_000;
const PONG_WITHIN = 10_000;
/** The close code for what a token doesn't allow, or no longer. */
const POLICY = 1008;
/** Whether a close code says that connecting again would come to the same. */
const isFinal = (code) => [1000, 1002, 1003, 1007, 1009].includes(code) || (code >= 4500 && code < 5000);

/**
 * A card's stream. Callbacks: `message(message)` for each of the gateway's; `state(name, detail)` with `connecting`,
 * `open`, `waiting` (detail: milliseconds until the next attempt) and `closed`; `refused(error)`, an `ApiError`, when
 * the token isn't taken or doesn't allow the card, or the gateway closed for good, after which the stream is closed;
 * `ping(milliseconds)`. `filters` are `{ levels, text }`, either of which may be absent.
 */
export class Stream {
  #token; #card; #on; #socket = null; #position = null; #failures = 0; #timer = 0; #closed = false;
  #pings = 0; #pong = 0; #pingedAt = 0; #filters; #moving = 0;

  constructor(token, card, filters, callbacks) {
    this.#token = token;
    this.#card = card;
    this.#filters = filters;
    this.#on = callbacks;
    this.#connect();
  }

  /** Sends a message, if there is a connection; says whether there was. */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Has the gateway send only what passes these filters from now on. */
  setFilters(filters) {
    this.#filters = filters;
    this.send({ type: 'set_filters', cardId: this.#card, filters });
  }

  /** Begins anew with the newest entries that pass these filters; `card_subscribed` says where. */
  beginAnew(filters) {
    this.#filters = filters;
    this.#position = null;
    this.send({ type: 'unsubscribe_card', cardId: this.#card });
    this.send({ type: 'subscribe_card', cardId: this.#card, filters });
  }

  /** Tries at once, where a new attempt is being waited for. */
  hurry() {
    if (this.#timer === 0 || this.#closed) return;
    this.#connect();
  }

  /** Begins anew with the newest entries, leaving out what lies between. */
  jumpToLive() {
    this.#position = null;
    this.#failures = 0;
    this.#connect();
  }

  /** Ends it. */
  close() {
    this.#closed = true;
    this.#drop();
    this.#on.state('closed');
  }

  #drop() {
    clearTimeout(this.#timer);
    clearInterval(this.#pings);
    clearTimeout(this.#pong);
    clearTimeout(this.#moving);
    this.#timer = 0;
    this.#pong = 0;
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  #connect() {
    this.#drop();
    this.#on.state('connecting');
    const url = new URL(`/v1/cards/${encodeURIComponent(this.#card)}/stream`, location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    url.hash = '';
    if (this.#position) url.searchParams.set('position', this.#position);
    if (this.#filters.levels) url.searchParams.set('levels', this.#filters.levels.join(','));
    if (this.#filters.text) url.searchParams.set('text', this.#filters.text);
    const socket = new WebSocket(url, ['agentworks.v1', `agentworks.bearer.${this.#token}`]);
    this.#socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#pings = setInterval(() => this.#ping(), PING_EVERY);
      this.#ping();
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => {
      this.#drop();
      if (isFinal(event.code)) this.#end(new ApiError(0, 'closed', `The gateway closed the connection: ${event.reason || event.code}`));
      else this.#retry(opened && event.code !== POLICY);
    };
  }

  #receive(text) {
    const message = JSON.parse(text);
    switch (message.type) {
      case 'connection_established':
        this.#failures = 0;
        this.#on.state('open');
        break;
      case 'pong':
        clearTimeout(this.#pong);
        this.#pong = 0;
        this.#on.ping(performance.now() - this.#pingedAt);
        return;
      case 'reconnect':
        // It is about to end, and goes on until then; another one is there already.
        clearTimeout(this.#moving);
        this.#moving = setTimeout(() => this.#connect(), message.data.after);
        return;
      case 'log_entry':
      case 'logs_batch':
        if (message.position) this.#position = message.position;
        break;
      default:
    }
    this.#on.message(message);
  }

  /** A connection that has died quietly shows in a pong that doesn't come. */
  #ping() {
    this.#pingedAt = performance.now();
    if (this.#pong !== 0 || !this.send({ type: 'ping', timestamp: Date.now() })) return;
    this.#pong = setTimeout(() => { this.#drop(); this.#retry(true); }, PONG_WITHIN);
  }

  /** Waits and connects again; unless the connection was good, it asks first whether the token is. */
  async #retry(wasGood) {
    if (this.#closed) return;
    if (!wasGood) {
      const refusal = await this.#refusal();
      if (this.#closed || this.#socket) return;
      if (refusal) {
        this.#end(refusal);
        return;
      }
    }
    const ceiling = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#failures);
    const delay = ceiling / 2 + Math.random() * (ceiling / 2);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#on.state('waiting', delay);
  }

  #end(reason) {
    this.close();
    this.#on.refused(reason);
  }

  /** A browser doesn't say why a connection was refused; the card's own route does. */
  async #refusal() {
    try {
      await get(this.#token, ['cards', this.#card]);
    } catch (error) {
      if (error instanceof ApiError && (error.status === 401 || error.status === 403)) return error;
    }
    return null;
  }
}
