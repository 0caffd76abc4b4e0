// Strips of text with at most one button, between the toolbar and the notebook.
//
// Whatever text comes from elsewhere (a session's reason) is set as text, never as HTML.

export class Strips {
  #inner = document.createElement("div");
  #shown = new Map();

  constructor() {
    this.#inner.className = "sparkowl-strips sparkowl-mod-over";
    document.body.append(this.#inner);
  }

  // Show a strip, or change the one of that name. kind: "note", "warning" or "error", of which
  // the latter two interrupt a screen reader. button: {text, press}.
  show(name, { text, kind, detail = "", button = null, closable = false }) {
    const strip = this.#shown.get(name) ?? this.#add(name, kind);
    const [body, extra, buttons] = strip.children;
    // Untouched when equal: a screen reader says again what changes.
    if (body.textContent !== text) body.textContent = text;
    if (extra.textContent !== detail) extra.textContent = detail;
    if (buttons.childElementCount > 0) return strip;
    if (button !== null) buttons.append(this.#button(button.text, button.press));
    if (closable) buttons.append(this.#button("Close", () => this.drop(name)));
    return strip;
  }

  drop(name) {
    this.#shown.get(name)?.remove();
    this.#shown.delete(name);
  }

  // Make room for the strips in the notebook's panel, instead of lying over the page.
  moveInto(panel, Widget) {
    if (Widget === null || !panel.contentHeader?.addWidget) return;
    const widget = new Widget();
    widget.addClass("sparkowl-place");
    widget.node.append(this.#inner);
    this.#inner.classList.remove("sparkowl-mod-over");
    panel.contentHeader.addWidget(widget);
    // Jupyter's layout asks for heights in advance, and text takes as many lines as it needs.
    new ResizeObserver(() => {
      widget.node.style.minHeight = `${this.#inner.offsetHeight}px`;
      panel.contentHeader.fit();
    }).observe(this.#inner);
  }

  #add(name, kind) {
    const strip = document.createElement("div");
    strip.className = `sparkowl-strip sparkowl-mod-${kind}`;
    strip.dataset.strip = name;
    strip.setAttribute("role", kind === "note" ? "status" : "alert");
    const body = document.createElement("span");
    const extra = document.createElement("span");
    extra.className = "sparkowl-strip-detail";
    // It counts: not to be read aloud each time.
    extra.setAttribute("aria-live", "off");
    const buttons = document.createElement("span");
    buttons.className = "sparkowl-strip-buttons";
    strip.append(body, extra, buttons);
    this.#inner.append(strip);
    this.#shown.set(name, strip);
    return strip;
  }

  #button(text, press) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", press);
    return button;
  }
}
