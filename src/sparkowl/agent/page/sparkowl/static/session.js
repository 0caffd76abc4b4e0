// Watches the session from outside its kernel: warns before the idle stop, and says that it ended.

const ENDED = {
  TERMINATING: "The session is ending.",
  TERMINATED: "The session has ended.",
  FAILED: "The session has failed.",
};
const AFTER_END =
  "What was not saved is in this page only: copy it, or download the notebook. " +
  "To go on, start another session with this notebook (StartSession) and open a new link to it.";
const EXPIRED =
  "The link has expired: ask for a new one (CreatePresignedNotebookUrl) and open it in this " +
  "browser. What was not saved is in this page only: copy it, or download the notebook.";
const AWAY = "The server is away, trying again.";

const EVERY_S = 15;
// A tab that nobody sees; it is up to date again when it is looked at.
const HIDDEN_EVERY_S = 60;
// While the warning stands, another page may extend the session, too.
const WARNED_EVERY_S = 5;
const AWAY_EVERY_S = 3;
// One request that fails is no news.
const AWAY_AFTER = 3;

export class Session {
  // Called once, when the session is no more.
  onEnd = () => {};
  // Called each time that the session is heard of and lives.
  onAlive = () => {};
  #ask;
  #strips;
  #page;
  #timer = 0;
  #dueAt = 0;
  #ticker = 0;
  #warned = false;
  #failures = 0;
  #ended = false;
  #turn = 0;

  // page: {download(), stopSaving()}.
  constructor(ask, strips, page) {
    this.#ask = ask;
    this.#strips = strips;
    this.#page = page;
  }

  start() {
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#look();
    });
    this.#look();
  }

  // The kernel works, maybe for a cell: then the warning is over, which the server knows.
  busy() {
    if (this.#warned && this.#dueAt > Date.now() + 1000) this.#again(1);
  }

  async #look() {
    await this.#exchange("_sparkowl/session", "GET");
  }

  async #exchange(path, method) {
    if (this.#ended) return;
    const turn = (this.#turn += 1);
    clearTimeout(this.#timer);
    const { status, body } = await this.#ask(path, method);
    // An answer from before what was asked last must not undo it.
    if (this.#ended || turn !== this.#turn) return;
    if (status === 200) this.#heard(body);
    else if (status === 410) this.#end(body);
    else if (status === 401 || status === 403) this.#expired();
    else if (status === 404) console.warn("sparkowl: nobody here knows about the session");
    else this.#failed();
  }

  #heard(session) {
    this.#failures = 0;
    this.#strips.drop("away");
    this.#strips.drop("expired");
    if (Object.hasOwn(ENDED, session.state)) {
      this.#end(session);
      return;
    }
    this.onAlive();
    const { stops_in_s: left, warn_s: warn } = session;
    if (typeof left === "number" && left <= warn) {
      this.#warn(Date.now() + left * 1000);
      this.#again(WARNED_EVERY_S);
    } else {
      this.#unwarn();
      const until = typeof left === "number" ? left - warn : EVERY_S;
      this.#again(Math.min(Math.max(until, 1), document.hidden ? HIDDEN_EVERY_S : EVERY_S));
    }
  }

  #warn(stopsAt) {
    this.#warned = true;
    const count = () =>
      this.#strips.show("idle", {
        text: "This session is idle and will be stopped; its variables will be gone.",
        detail: `Time left: ${clock(Math.max(stopsAt - Date.now(), 0))}`,
        kind: "warning",
        button: { text: "Keep the session", press: () => this.#extend() },
      });
    clearInterval(this.#ticker);
    count();
    this.#ticker = setInterval(count, 1000);
  }

  #unwarn() {
    this.#warned = false;
    clearInterval(this.#ticker);
    this.#strips.drop("idle");
  }

  // Pressed again while no answer came: again, it does no harm.
  async #extend() {
    await this.#exchange("_sparkowl/extend", "POST");
  }

  #end(session) {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#unwarn();
    for (const name of ["away", "expired", "restarted"]) this.#strips.drop(name);
    // A plain refusal has a message instead of a reason.
    const said = session.reason ?? session.message;
    const reason = typeof said === "string" ? said : "";
    this.#strips.show("ended", {
      text: [ENDED[session.state] ?? ENDED.TERMINATED, reason, AFTER_END].filter(Boolean).join(" "),
      kind: "error",
      button: this.#download(),
    });
    this.#page.stopSaving();
    this.onEnd();
  }

  #expired() {
    this.#unwarn();
    this.#strips.drop("away");
    this.#strips.show("expired", { text: EXPIRED, kind: "error", button: this.#download() });
    this.#again(EVERY_S);
  }

  #failed() {
    this.#failures += 1;
    if (this.#failures >= AWAY_AFTER) this.#strips.show("away", { text: AWAY, kind: "warning" });
    this.#again(AWAY_EVERY_S);
  }

  #download() {
    return { text: "Download the notebook", press: () => this.#page.download() };
  }

  #again(seconds) {
    clearTimeout(this.#timer);
    this.#dueAt = Date.now() + seconds * 1000;
    if (!this.#ended) this.#timer = setTimeout(() => this.#look(), seconds * 1000);
  }
}

function clock(milliseconds) {
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
