// A replay: its session with the gateway, and the bar that controls it. After a lost connection it is another session,
// moved to the same place.

import { clock, count, duration, make, shortId } from './format.js';

const SPEEDS = [[1, '1×'], [4, '4×'], [16, '16×'], [0, 'max']];

export class Replay {
  #parts; #lines; #send; #ended; #speed = 4; #asked = 4; #run = null; #starts = 0;
  #session = null; #place = 0; #total = 0; #paused = false; #done = false; #seeking = false; #dragging = false; #live = false;

  /** `send(message)` talks to the gateway; `ended()` is called when the reader leaves the replay. */
  constructor(parts, lines, { send, ended }) {
    this.#parts = parts;
    this.#lines = lines;
    this.#send = send;
    this.#ended = ended;
    for (const [speed, label] of SPEEDS) {
      const button = make('button', 'chip', label);
      button.type = 'button';
      button.onclick = () => this.#setSpeed(speed);
      button.dataset.speed = speed;
      parts.speeds.append(button);
    }
    parts.toggle.onclick = () => this.toggle();
    parts.stop.onclick = () => this.stop();
    parts.live.onclick = () => this.#jumpLive();
    parts.seek.oninput = () => { this.#dragging = true; this.#show(); };
    parts.seek.onchange = () => { this.#dragging = false; this.#seek(Number(parts.seek.value)); };
  }

  /** The run that is being replayed, or null. */
  get run() { return this.#run; }

  /** Replays a run from its first entry. */
  start(run) {
    this.#stopSession();
    this.#run = run;
    this.#total = 0;
    this.#paused = false;
    this.#begin(0);
  }

  /** Leaves the replay. */
  stop() {
    if (this.#run === null) return;
    this.#stopSession();
    this.#run = null;
    this.#lines.clear();
    this.#ended();
  }

  /** Pauses, goes on, or begins again after the end. */
  toggle() {
    if (this.#run === null) return;
    if (this.#done) this.#begin(0);
    else if (this.#session !== null) this.#control(this.#paused ? 'resume' : 'pause');
  }

  /** After a new connection: goes on where it was. */
  reconnected() {
    this.#starts = 0;
    this.#session = null;
    // Where a seek led was to be said by the session before.
    this.#seeking = false;
    if (this.#run !== null && !this.#done) this.#begin(this.#place);
  }

  /** Takes a message of the gateway if it is about a replay, and says whether it did. */
  receive({ type, data }) {
    switch (type) {
      case 'replay_started': this.#started(data); return true;
      case 'replay_log': this.#log(data); return true;
      case 'replay_paused': if (this.#isOurs(data)) this.#paused = true; break;
      case 'replay_resumed': if (this.#isOurs(data)) this.#paused = false; break;
      case 'replay_seeked': if (this.#isOurs(data)) this.#seeked(data); break;
      case 'replay_speed_changed': break;
      case 'replay_live': if (this.#isOurs(data)) this.#goLive(); break;
      case 'replay_completed': if (this.#isOurs(data)) this.#completed(data); break;
      case 'error':
        if (this.#run === null || !data.inReplyTo?.startsWith('replay_')) return false;
        if (data.inReplyTo === 'replay_run') this.#starts = Math.max(0, this.#starts - 1);
        this.#lines.note(data.message, 'bad');
        break;
      default: return false;
    }
    this.#show();
    return true;
  }

  #isOurs = (data) => data.sessionId === this.#session;

  #begin(place) {
    this.#done = false;
    this.#live = false;
    this.#session = null;
    this.#place = place;
    this.#starts += 1;
    this.#lines.clear();
    this.#lines.note(place === 0 ? `Replay of run ${this.#run}` : `Replay of run ${this.#run}, from entry ${count(place + 1)}`);
    this.#asked = this.#speed;
    const options = { speed: this.#speed, includeSystemLogs: true };
    this.#send({ type: 'replay_run', runId: this.#run, options });
    this.#show();
  }

  #started(data) {
    this.#starts -= 1;
    if (this.#starts > 0 || data.runId !== this.#run || this.#session !== null) {
      // Overtaken by a later start.
      this.#send({ type: 'replay_control', action: 'stop', sessionId: data.sessionId });
      return;
    }
    this.#session = data.sessionId;
    this.#total = data.totalLogs;
    if (this.#asked !== this.#speed) this.#send({ type: 'replay_speed', sessionId: data.sessionId, speed: this.#speed });
    if (this.#place > 0) this.#sendSeek(this.#place);
    if (this.#paused) this.#control('pause');
    this.#show();
  }

  #log(data) {
    if (!this.#isOurs(data) || this.#seeking) return;
    this.#place = data.replayPosition + 1;
    this.#total = data.replayTotal;
    this.#lines.add([data]);
    this.#show();
    if (!this.#dragging) this.#parts.place.value = this.#placeText(clock(data.originalTimestamp));
  }

  #seeked(data) {
    this.#seeking = false;
    this.#place = data.position;
  }

  #goLive() {
    if (!this.#live) this.#lines.note('All that the run has yet; from here on as it comes');
    this.#live = true;
  }

  #jumpLive() {
    if (this.#session === null) return;
    this.#lines.clear();
    this.#lines.note('The newest entries');
    this.#seeking = true;
    this.#send({ type: 'replay_jump_live', sessionId: this.#session });
  }

  #completed(data) {
    this.#session = null;
    this.#done = true;
    this.#lines.note(`The end: ${count(data.totalLogsPlayed)} entries in ${duration(data.duration)}`);
  }

  #seek(place) {
    if (this.#session === null) {
      this.#paused = false;
      this.#begin(place);
      return;
    }
    this.#lines.clear();
    this.#lines.note(`From entry ${count(place + 1)}`);
    this.#sendSeek(place);
    this.#place = place;
    this.#show();
  }

  #sendSeek(position) {
    this.#seeking = true;
    this.#live = false;
    this.#send({ type: 'replay_seek', sessionId: this.#session, position });
  }

  #setSpeed(speed) {
    if (speed === this.#speed) return;
    this.#speed = speed;
    // One that has only been asked for is told when it is there.
    if (this.#session !== null) this.#send({ type: 'replay_speed', sessionId: this.#session, speed });
    this.#show();
  }

  #stopSession() {
    if (this.#session !== null) this.#control('stop');
    this.#session = null;
    this.#seeking = false;
  }

  #control(action) {
    this.#send({ type: 'replay_control', action, sessionId: this.#session });
  }

  #placeText(time) {
    return `${count(this.#place)} of ${count(this.#total)}${time ? ` · ${time}` : ''}`;
  }

  #show() {
    const { toggle, speeds, seek, place, live, bar } = this.#parts;
    bar.setAttribute('aria-label', `Replay of run ${shortId(this.#run ?? '')}`);
    toggle.textContent = this.#done ? 'Again' : this.#paused ? 'Resume' : 'Pause';
    for (const button of speeds.children) {
      button.setAttribute('aria-pressed', String(Number(button.dataset.speed) === this.#speed));
    }
    live.disabled = this.#session === null || this.#live;
    seek.max = String(Math.max(1, this.#total));
    if (this.#dragging) place.value = `${count(Number(seek.value))} of ${count(this.#total)}`;
    else {
      seek.value = String(this.#place);
      if (this.#session === null || this.#place === 0) place.value = this.#placeText('');
    }
  }
}
