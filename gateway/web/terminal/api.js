// The token, and the REST routes that the page reads with it.

const KEY = 'agentworks.token';

/** What the address bar's fragment says: `#token=…&card=…`. It never reaches a server. */
export const fragment = () => new URLSearchParams(location.hash.slice(1));

/** Puts the card into the address bar, so that a reload comes back to it. */
export function rememberCard(card) {
  const url = new URL(location.href);
  url.hash = card === null ? '' : new URLSearchParams({ card }).toString();
  history.replaceState(null, '', url);
}

/** The token: one in the fragment is taken and removed from the address bar at once. */
export function takeToken() {
  const given = fragment();
  const token = given.get('token');
  if (token !== null) {
    given.delete('token');
    const url = new URL(location.href);
    url.hash = given.toString();
    history.replaceState(null, '', url);
    keepToken(token);
  }
  return sessionStorage.getItem(KEY);
}

/** Keeps the token for this tab. */
export const keepToken = (token) => sessionStorage.setItem(KEY, token);

/** Forgets the token. */
export const forgetToken = () => sessionStorage.removeItem(KEY);

/** Whether a text can be a token at all: what a header and a subprotocol can carry. */
export const isTokenLike = (text) => /^[\w.~+/=-]+$/.test(text);

/** A fault that the gateway told, or that kept it from answering (status 0). */
export class ApiError extends Error {
  constructor(status, code, message, at) {
    super(message);
    /** Of a query that can't be read: how many of its characters come before the fault. */
    this.at = at;
    this.status = status;
    this.code = code;
  }
}

/** Reads a route, `['cards', card, 'runs']`, with query parameters; throws an `ApiError`. */
export async function get(token, path, query = {}) {
  const url = new URL(`/v1/${path.map(encodeURIComponent).join('/')}`, location.origin);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const headers = { Authorization: `Bearer ${token}` };
  let response;
  try {
    response = await fetch(url, { headers, cache: 'no-store', credentials: 'omit' });
  } catch {
    throw new ApiError(0, 'unreachable', 'The gateway can’t be reached.');
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body !== null) return body;
  const { code = 'internal', message = `HTTP ${response.status}`, at } = body?.error ?? {};
  throw new ApiError(response.status, code, message, at);
}
