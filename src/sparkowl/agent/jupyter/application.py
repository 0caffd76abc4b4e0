"""Jupyter's server as a session needs it: its own managers, no configuration but this."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Final

import jupyterlab  # type: ignore[import-untyped]
from jupyter_server.auth import IdentityProvider, User
from jupyter_server.serverapp import ServerApp
from tornado.web import RequestHandler
from traitlets.config import Config

from sparkowl.agent.jupyter.asking import Desk
from sparkowl.agent.jupyter.contents import OneNotebook
from sparkowl.agent.jupyter.gate import Gate
from sparkowl.agent.jupyter.kernels import OneKernel, OneSpec, Sessions

#: A notebook of 10 MiB as JSON within JSON, and some.
LARGEST_REQUEST: Final = 32 << 20
#: More than a page can show; a cell that prints faster is not worth a frozen browser.
_MESSAGES_PER_S: Final = 2000
_BYTES_PER_S: Final = 4 << 20
_EXTENSION: Final = "sparkowl.agent.jupyter.pages"


class OnlyTheDoor(IdentityProvider):
    """Whoever passed the wall is the session's user: no login, no cookies, no questions."""

    def get_user(self, handler: RequestHandler) -> User:
        # Tornado would make a cookie of it where a page's template asks for one.
        handler._xsrf_token = b""
        return User("owner", display_name="Owner")

    def is_token_authenticated(self, handler: RequestHandler) -> bool:
        return True

    def get_handlers(self) -> list[tuple[str, object]]:
        return []


class Server(ServerApp):
    """Without what a server for people has: signals, files about itself, a browser to open."""

    default_services = (  # type: ignore[assignment]  # fewer than theirs
        "api",
        "contents",
        "kernels",
        "kernelspecs",
        "sessions",
        "events",
    )

    desk: Desk
    #: The one file's name.
    notebook: str
    connection_file: str

    def load_config_file(self, *_: Any, **__: Any) -> None:
        """There is none."""

    def init_signal(self) -> None:
        """The agent ends this process by closing the desk."""


def configured(base_url: str) -> Config:
    """All of this server's settings."""
    config = Config()
    server = config.ServerApp
    server.base_url = base_url
    server.root_dir = str(Path.cwd())
    server.allow_root = True
    server.open_browser = False
    # The door has looked at both names already, and sends its own.
    server.allow_remote_access = True
    server.cookie_secret = secrets.token_bytes(32)
    server.jpserver_extensions = {_EXTENSION: True}
    server.identity_provider_class = OnlyTheDoor
    server.contents_manager_class = OneNotebook
    server.kernel_manager_class = OneKernel
    server.kernel_spec_manager_class = OneSpec
    server.session_manager_class = Sessions
    server.kernel_websocket_connection_class = Gate
    server.terminals_enabled = False
    server.log_level = "WARN"
    server.tornado_settings = {
        "headers": {"Content-Security-Policy": "frame-ancestors 'none'"},
        "log_function": _log_failures,
        "mathjax_url": "",
    }
    config.IdentityProvider.token = secrets.token_hex(16)
    config.Gate.iopub_msg_rate_limit = _MESSAGES_PER_S
    config.Gate.iopub_data_rate_limit = _BYTES_PER_S
    # What was run here is trusted while this process lives; nothing to keep for later.
    config.NotebookNotary.db_file = ":memory:"
    config.NotebookNotary.secret = secrets.token_bytes(32)
    share = _share()
    pages = config.PageApp
    pages.app_settings_dir = str(share / "lab" / "settings")
    pages.schemas_dir = str(share / "lab" / "schemas")
    pages.themes_dir = str(share / "lab" / "themes")
    pages.user_settings_dir = os.environ["JUPYTERLAB_SETTINGS_DIR"]
    pages.workspaces_dir = os.environ["JUPYTERLAB_WORKSPACES_DIR"]
    pages.labextensions_path = [str(share / "labextensions")]
    pages.extra_labextensions_path = [str(Path(__file__).parent.parent / "page")]
    pages.custom_css = False
    return config


def _share() -> Path:
    """Where JupyterLab's own data was installed: beside the package, wherever that is."""
    prefix = Path(jupyterlab.__file__).resolve().parents[4]
    return prefix / "share" / "jupyter"


def _log_failures(handler: Any) -> None:
    """Of a request that failed here: what and where, never its headers or its query."""
    if handler.get_status() >= 500:
        request = handler.request
        handler.settings["serverapp"].log.error(
            "%d %s %s", handler.get_status(), request.method, request.path
        )
