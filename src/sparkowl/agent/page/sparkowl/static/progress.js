// Shows under the cell that runs what Spark does for it.
//
// It is drawn into the page beside the cell's outputs and is none of them: nothing of it is saved.

const EVERY_MS = 1000;
// As many stages by name; a query plan may have hundreds.
const STAGES = 3;

export class Progress {
  #ask;
  #strips;
  #panel = null;
  #kernel = "unknown";
  #timer;
  #asking = false;
  // The calculation that was seen last: what ends within a second shows no bar.
  #seen = null;
  #bar = null;

  constructor(ask, strips) {
    this.#ask = ask;
    this.#strips = strips;
    this.#timer = setInterval(() => this.#tick(), EVERY_MS);
  }

  follow(panel) {
    this.#clear();
    this.#panel = panel;
    this.#kernel = panel.sessionContext.session?.kernel?.status ?? "unknown";
  }

  kernelIs(status) {
    this.#kernel = status;
    if (!this.#working()) this.#clear();
  }

  stop() {
    clearInterval(this.#timer);
    this.#panel = null;
    this.#clear();
  }

  async #tick() {
    if (!this.#working()) return this.#clear();
    if (this.#asking || document.hidden) return;
    this.#asking = true;
    const { status, body } = await this.#ask("sparkowl/progress");
    this.#asking = false;
    if (status === 404) return this.stop();
    // Of a failure the session's watch speaks; it may be done meanwhile.
    if (status === 200) this.#heard(this.#working() ? body.running : null);
  }

  // Also a kernel that has not answered yet, which may be busy with a calculation.
  #working() {
    if (this.#panel === null || this.#panel.isDisposed) return false;
    return this.#kernel === "busy" || this.#kernel === "unknown" || cells(this.#panel).some(runs);
  }

  #heard(running) {
    if (!running) return this.#clear();
    if (running.calculation_id !== this.#seen) {
      this.#clear();
      this.#seen = running.calculation_id;
      return;
    }
    const cell = cells(this.#panel).find((one) => sentAs(one) === running.msg_id) ?? null;
    if (cell === null || running.msg_id === null) this.#showLine(running);
    else this.#showBar(cell, running);
  }

  #showLine({ msg_id: ours, percent }) {
    this.#strips.show("running", {
      text:
        ours === null
          ? "A calculation sent by API runs; cells wait."
          : "A cell runs that was started before this page was loaded, or in another; cells wait.",
      detail: typeof percent === "number" ? `${Math.round(percent)} %` : "",
      kind: "note",
    });
  }

  #showBar(cell, running) {
    const stages = Array.isArray(running.stages) ? running.stages : [];
    // A cell that has not used Spark; once there is a bar, it stays between two jobs.
    if (this.#bar === null && stages.length === 0) return;
    this.#bar ??= new Bar(cell);
    this.#bar.show(running.percent, stages);
  }

  #clear() {
    this.#seen = null;
    this.#bar?.remove();
    this.#bar = null;
    this.#strips.drop("running");
  }
}

class Bar {
  #node = element("div", "sparkowl-progress");
  #track = element("div", "sparkowl-progress-track");
  #fill = element("div", "sparkowl-progress-fill");
  #percent = element("span", "sparkowl-progress-percent");
  #stages = element("span", "sparkowl-progress-stages");

  constructor(cell) {
    this.#track.setAttribute("role", "progressbar");
    this.#track.setAttribute("aria-label", "Spark's progress");
    this.#track.setAttribute("aria-valuemin", "0");
    this.#track.setAttribute("aria-valuemax", "100");
    this.#track.append(this.#fill);
    this.#node.append(this.#track, this.#percent, this.#stages);
    const outputs = cell.node.querySelector(":scope > .jp-Cell-outputWrapper");
    cell.node.insertBefore(this.#node, outputs);
  }

  show(percent, stages) {
    const known = typeof percent === "number";
    const whole = known ? Math.min(Math.max(Math.floor(percent), 0), 100) : 0;
    if (known) this.#track.setAttribute("aria-valuenow", String(whole));
    else this.#track.removeAttribute("aria-valuenow");
    this.#fill.style.width = `${whole}%`;
    this.#percent.textContent = known ? `${whole} %` : "";
    const lines = stages.slice(0, STAGES).map(({ name, done, tasks }) => `${name}: ${done}/${tasks}`);
    if (stages.length > STAGES) lines.push(`and ${stages.length - STAGES} more`);
    this.#stages.replaceChildren(...lines.map((line) => element("span", "", line)));
  }

  remove() {
    this.#node.remove();
  }
}

function cells(panel) {
  return panel.content.widgets;
}

function runs(cell) {
  return cell.model.type === "code" && cell.model.executionState === "running";
}

// The id of the message that a cell was last sent to the kernel as.
function sentAs(cell) {
  return cell.outputArea?.future?.msg.header.msg_id;
}

function element(tag, className, text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}
