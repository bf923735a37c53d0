// Messages as programs print them: SGR colours become classes, all other control sequences vanish, and control
// characters become visible signs. What comes out is text nodes and spans; nothing of a message is ever markup.

// CSI … final byte; OSC, DCS, SOS, PM and APC up to their terminator; any other two- or three-byte escape. Also C1.
// eslint-disable-next-line no-control-regex
const SEQUENCE = /(?:\x1b\[|\x9b)([0-?]*)[ -/]*([@-~])|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[\s\S]*?(?:\x07|\x1b\\|\x9c|$)|\x1b[ -/]*[0-~]|\x1b/g;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]/g;

const STYLES = { 1: 'bold', 2: 'dim', 3: 'italic', 4: 'underline', 7: 'inverse', 9: 'strike' };
const CLEARS = { 22: ['bold', 'dim'], 23: ['italic'], 24: ['underline'], 27: ['inverse'], 29: ['strike'] };

/** Whether a text has anything that `append` would treat specially. */
// eslint-disable-next-line no-control-regex
const isPlain = (text) => !/[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]/.test(text);

/** Appends a message to an element. */
export function append(parent, text) {
  if (isPlain(text)) {
    parent.append(text);
    return;
  }
  let state = { styles: new Set(), front: null, back: null };
  let from = 0;
  for (const match of text.matchAll(SEQUENCE)) {
    emit(parent, text.slice(from, match.index), state);
    from = match.index + match[0].length;
    if (match[2] === 'm') state = select(state, match[1]);
  }
  emit(parent, text.slice(from), state);
}

/** A text without any control sequence, its control characters made visible. */
export function strip(text) {
  return isPlain(text) ? text : visible(text.replace(SEQUENCE, ''));
}

function visible(text) {
  return text.replace(/\r\n?/g, '\n').replace(CONTROL, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? '\u2421' : '\ufffd';
  });
}

function emit(parent, text, state) {
  if (!text) return;
  const { styles, front, back } = state;
  if (styles.size === 0 && front === null && back === null) {
    parent.append(visible(text));
    return;
  }
  const span = document.createElement('span');
  span.textContent = visible(text);
  for (const style of styles) span.classList.add(`sgr-${style}`);
  paint(span, front, 'fg', 'color');
  paint(span, back, 'bg', 'backgroundColor');
  parent.append(span);
}

function paint(span, colour, kind, property) {
  if (colour === null) return;
  if (typeof colour === 'number') span.classList.add(`sgr-${kind}-${colour}`);
  else span.style[property] = colour;
}

/** The state after an SGR sequence with these parameters. */
function select(state, parameters) {
  const codes = parameters.split(/[;:]/).map((code) => (code === '' ? 0 : Number(code)));
  const next = { styles: new Set(state.styles), front: state.front, back: state.back };
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 0) { next.styles.clear(); next.front = null; next.back = null; }
    else if (code in STYLES) next.styles.add(STYLES[code]);
    else if (code in CLEARS) CLEARS[code].forEach((style) => next.styles.delete(style));
    else if (code >= 30 && code <= 37) next.front = code - 30;
    else if (code >= 90 && code <= 97) next.front = code - 82;
    else if (code === 39) next.front = null;
    else if (code >= 40 && code <= 47) next.back = code - 40;
    else if (code >= 100 && code <= 107) next.back = code - 92;
    else if (code === 49) next.back = null;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes, at + 1);
      if (code === 38) next.front = colour; else next.back = colour;
      at += used;
    }
  }
  return next;
}

/** The colour of `5;n` (of 256) or `2;r;g;b`, and how many codes that took. */
function extended(codes, at) {
  if (codes[at] === 2) {
    const [red, green, blue] = [1, 2, 3].map((index) => Math.min(255, codes[at + index] || 0));
    return [`rgb(${red} ${green} ${blue})`, 4];
  }
  if (codes[at] !== 5) return [null, 1];
  const number = codes[at + 1] || 0;
  if (number < 16) return [number, 2];
  if (number >= 232) {
    const grey = Math.min(255, 8 + (number - 232) * 10);
    return [`rgb(${grey} ${grey} ${grey})`, 2];
  }
  const level = (step) => (step === 0 ? 0 : 55 + step * 40);
  const cube = number - 16;
  return [`rgb(${level(Math.floor(cube / 36))} ${level(Math.floor(cube / 6) % 6)} ${level(cube % 6)})`, 2];
}
