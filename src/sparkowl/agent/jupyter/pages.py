"""Jupyter Notebook's page, told nothing about this machine, with SparkOwl's additions."""

# mypy: allow-untyped-calls
# Jupyter's own classes are typed only here and there.

from __future__ import annotations

import json
from typing import Any, Final

from jupyter_server.base.handlers import APIHandler
from notebook.app import JupyterNotebookApp, NotebookHandler
from tornado import web

from sparkowl.agent.desk import DeskError
from sparkowl.agent.jupyter.refusals import refused

#: Of what is installed beside us: ours, and charts. Notebook's own is for JupyterLab's pages.
_LAB_EXTENSIONS: Final = frozenset({"sparkowl", "jupyterlab-plotly"})
#: What would lead nowhere here, or ask somebody on the internet.
_DISABLED: Final = (
    "@jupyter-notebook/application-extension:logo",
    "@jupyter-notebook/notebook-extension:open-tree-tab",
    "@jupyter-notebook/terminal-extension",
    "@jupyterlab/apputils-extension:announcements",
    "@jupyterlab/filebrowser-extension:download",
    "@jupyterlab/hub-extension",
    "@jupyterlab/fileeditor-extension:language-server",
    "@jupyterlab/lsp-extension",
    "@jupyterlab/notebook-extension:language-server",
    "@jupyterlab/running-extension",
    "@jupyterlab/terminal-extension",
    "@jupyterlab/docmanager-extension:download",
    "@jupyterlab/notebook-extension:export",
    "@jupyterlab/services-extension:nbconvert-manager",
)


class PageHandler(NotebookHandler):
    @web.authenticated
    async def get(self, path: str = "") -> None:
        if not await self.contents_manager.file_exists(path):
            raise web.HTTPError(404)
        page = self.render_template("notebooks.html", page_config=self.get_page_config())
        await self.finish(page)

    def get_page_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_page_config()
        # The door's credential, and where things lie on this machine.
        config = {
            key: value
            for key, value in config.items()
            if not key.endswith(("Dir", "Root")) and key != "labextensionsPath"
        }
        config["token"] = ""
        config["fullMathjaxUrl"] = ""
        config["extraLabextensionsPath"] = []
        config["appName"] = "SparkOwl"
        config["preferredPath"] = "/"
        config["federated_extensions"] = [
            extension
            for extension in config.get("federated_extensions", [])
            if extension["name"] in _LAB_EXTENSIONS
        ]
        config["disabledExtensions"] = sorted({*config.get("disabledExtensions", ()), *_DISABLED})
        return config


class ProgressHandler(APIHandler):
    @web.authenticated
    async def get(self) -> None:
        server: Any = self.serverapp
        try:
            answer = await server.desk.ask("progress")
        except DeskError as error:
            raise refused(error) from error
        await self.finish(json.dumps(answer))


class PageApp(JupyterNotebookApp):
    """Notebook's own application, with one page of its seven."""

    def initialize_handlers(self) -> None:
        self.handlers.append((r"/notebooks/([^/]+)", PageHandler))
        self.handlers.append((r"/sparkowl/progress", ProgressHandler))
        super(JupyterNotebookApp, self).initialize_handlers()


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": __name__, "app": PageApp}]
