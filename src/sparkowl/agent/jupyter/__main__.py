"""``python -m sparkowl.agent.jupyter FD``: wait for a session, serve it, end with the agent.

``FD`` is this end of the desk's socket pair. Importing Jupyter takes a second, so it is done before
there is a session; then serving takes milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
import threading
from pathlib import Path

from sparkowl.agent import desk


def main() -> None:
    here = Path.cwd()
    end = socket.socket(fileno=int(sys.argv[1]))
    end.setblocking(True)
    threading.Thread(target=_end_with_the_agent, args=(end.fileno(),), daemon=True).start()
    _keep_to_this_folder(here)

    from sparkowl.agent.jupyter import ahead, serving

    ahead.import_all()
    told = _first_told(end)
    asyncio.run(serving.serve(end, told))


def _end_with_the_agent(descriptor: int) -> None:
    """At once, also while importing: nobody is left to ask, and nothing here is worth keeping."""
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


def _keep_to_this_folder(here: Path) -> None:
    """Nothing of the machine's Jupyter configuration is read, and nothing is written elsewhere."""
    os.umask(0o077)
    os.environ |= {
        "HOME": str(here),
        "JUPYTER_NO_CONFIG": "1",
        "JUPYTER_CONFIG_DIR": str(here / "config"),
        "JUPYTER_DATA_DIR": str(here / "data"),
        "JUPYTER_RUNTIME_DIR": str(here / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(here / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(here / "workspaces"),
        "IPYTHONDIR": str(here / "ipython"),
    }
    # Where a look for extensions of the machine's own would start.
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "JUPYTER_TOKEN", "JUPYTERLAB_DIR"):
        os.environ.pop(name, None)


def _first_told(end: socket.socket) -> dict[str, str]:
    """What to serve. Nothing else is told, so what is read past the line's end is nothing."""
    with end.makefile("rb", buffering=0) as lines:
        line = lines.readline()
    if not line:
        sys.exit(0)
    frame = desk.decode(line)
    if frame.get("tell") != "serve":
        raise SystemExit(f"told {frame.get('tell')!r} before 'serve'")
    return frame


if __name__ == "__main__":
    main()
