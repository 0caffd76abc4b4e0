"""Everything that serving a page imports, also what Jupyter imports only at the first request."""

from __future__ import annotations

import importlib
from typing import Final

_LATE: Final[tuple[str, ...]] = (
    "jupyter_server.serverapp",
    "notebook.app",
    "sparkowl.agent.jupyter.serving",
    "sparkowl.agent.jupyter.pages",
    "babel.dates",
    "babel.numbers",
    "jinja2.ext",
    "jupyter_core.migrate",
    "jupyter_server.kernelspecs.handlers",
    "jupyter_server.services.api.handlers",
    "jupyter_server.services.contents.handlers",
    "jupyter_server.services.events.handlers",
    "jupyter_server.services.kernels.handlers",
    "jupyter_server.services.kernelspecs.handlers",
    "jupyter_server.services.sessions.handlers",
    "tornado.platform.asyncio",
)


def import_all() -> None:
    for name in _LATE:
        importlib.import_module(name)
