"""Everything that serving a page imports, also what Jupyter imports only at the first request."""

from __future__ import annotations

import importlib
from typing import Final

_LATE: Final[tuple[str, ...]] = (
    "jupyter_server.serverapp",
    "notebook.app",
    "sparkowl.agent.jupyter.serving",
)


def import_all() -> None:
    for name in _LATE:
        importlib.import_module(name)
