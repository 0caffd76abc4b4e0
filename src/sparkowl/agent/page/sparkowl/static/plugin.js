// The plugin: finds the notebook in Jupyter's page, and starts what watches it.
//
// Only what JupyterLab calls public is used. What another version of Notebook does not have is
// missed with a console.warn, and the page works on as Jupyter's.
import { Progress } from "./progress.js";
import { Session } from "./session.js";
import { Strips } from "./strips.js";
import { asker } from "./wire.js";

const RESTARTED = "The session's kernel and its Spark context were restarted; variables are gone.";

export function plugin(shared, folder) {
  return {
    id: "sparkowl:page",
    description: "Idle warning, end of the session and Spark's progress.",
    autoStart: true,
    activate(app) {
      addStyle(`${folder}style.css`);
      try {
        start(app, shared);
      } catch (error) {
        console.warn("sparkowl: this version of Jupyter is not known", error);
      }
    },
  };
}

function start(app, shared) {
  const ask = asker(app.serviceManager.serverSettings.baseUrl);
  const strips = new Strips();
  const session = new Session(ask, strips, { download: () => download(app), stopSaving });
  const progress = new Progress(ask, strips);
  const seen = new WeakSet();

  function look() {
    const panel = notebookOf(app);
    if (panel === null || seen.has(panel)) return;
    seen.add(panel);
    progress.follow(panel);
    watchKernel(panel, strips, session, progress);
    widgets(shared).then((Widget) => strips.moveInto(panel, Widget));
  }

  // Jupyter would go on trying, with a dialog each time.
  async function stopSaving() {
    try {
      const { IDocumentManager } = await shared("@jupyterlab/docmanager");
      (await app.resolveOptionalService(IDocumentManager)).autosave = false;
    } catch (error) {
      console.warn("sparkowl: autosave stays on", error);
    }
  }

  session.onAlive = () => reconnect(notebookOf(app));
  session.onEnd = () => progress.stop();
  session.start();
  app.shell.currentChanged?.connect(look);
  app.restored.then(look);
}

function watchKernel(panel, strips, session, progress) {
  let restarting = false;
  panel.sessionContext.statusChanged.connect((_, status) => {
    progress.kernelIs(status);
    if (status === "busy") session.busy();
    if (status === "restarting" || status === "autorestarting") {
      restarting = true;
    } else if (restarting && (status === "idle" || status === "busy")) {
      restarting = false;
      strips.show("restarted", { text: RESTARTED, kind: "note", closable: true });
    }
  });
}

// Jupyter gives a connection up for good: after a link that expired, or when what stands before the
// server said that nobody was there. The session lives, and so does its kernel.
function reconnect(panel) {
  const kernel = panel?.sessionContext.session?.kernel;
  if (!kernel || kernel.connectionStatus === "connected") return;
  const gaveUp = kernel.connectionStatus === "disconnected" || kernel.status === "dead";
  if (gaveUp) kernel.reconnect().catch(() => {});
}

// The notebook that the page shows; null on other pages.
function notebookOf(app) {
  const widget = app.shell.currentWidget;
  return widget?.sessionContext && widget.content?.widgets ? widget : null;
}

async function widgets(shared) {
  try {
    return (await shared("@lumino/widgets")).Widget;
  } catch (error) {
    console.warn("sparkowl: what it shows lies over the page", error);
    return null;
  }
}

function download(app) {
  const panel = notebookOf(app);
  if (panel === null) return;
  const notebook = panel.context.model.toJSON();
  // Jupyter's word for this page only, which it saves nowhere either.
  for (const cell of notebook.cells) delete cell.metadata?.trusted;
  const text = JSON.stringify(notebook, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/x-ipynb+json" }));
  link.download = panel.context.path.split("/").pop();
  link.click();
  // The browser has taken its copy of the address long before.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function addStyle(href) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  document.head.append(link);
}
