"""The session's notebook, and no other file. Read and saved through the desk; on no disk here."""

# mypy: allow-untyped-calls
# Jupyter's own classes are typed only here and there.

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from typing import Any, Final

import nbformat
from jupyter_server.services.contents.checkpoints import AsyncCheckpoints
from jupyter_server.services.contents.manager import AsyncContentsManager
from nbformat.validator import NotebookValidationError
from traitlets.config import LoggingConfigurable

from sparkowl.agent.desk import DeskError
from sparkowl.agent.jupyter.refusals import Refused, refused

#: Athena's limit on a notebook, in bytes of UTF-8.
LARGEST: Final = 10_485_760
_ONE_FILE: Final = "A session's page has one notebook: no other files are made, moved or deleted."
_NEW: Final = {
    "cells": [],
    "metadata": {
        "kernelspec": {"display_name": "SparkOwl", "language": "python", "name": "sparkowl"}
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}
#: The only major version of the format that is kept.
_FORMAT: Final = 4
_SHOWN: Final = 300


class EverySave(AsyncCheckpoints, LoggingConfigurable):
    """Each save is a version already; as a checkpoint the last one is shown."""

    async def create_checkpoint(self, contents_mgr: OneNotebook, path: str) -> dict[str, Any]:
        return contents_mgr.checkpoint()

    async def list_checkpoints(self, path: str) -> list[dict[str, Any]]:
        manager: Any = self.parent
        return [manager.checkpoint()]

    async def restore_checkpoint(
        self, contents_mgr: OneNotebook, checkpoint_id: str, path: str
    ) -> None:
        """The page reads the notebook again after this, and that is the last save."""

    async def rename_checkpoint(self, checkpoint_id: str, old_path: str, new_path: str) -> None:
        raise Refused(403, _ONE_FILE)

    async def delete_checkpoint(self, checkpoint_id: str, path: str) -> None:
        raise Refused(403, "Versions are kept.")


class OneNotebook(AsyncContentsManager):
    checkpoints_class = EverySave

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._version: Any = None
        self._modified_at = datetime.now(UTC)

    @property
    def _name(self) -> str:
        return str(self._server.notebook)

    @property
    def _server(self) -> Any:
        return self.parent

    def checkpoint(self) -> dict[str, Any]:
        return {"id": "last-save", "last_modified": self._modified_at}

    def info_string(self) -> str:
        return f"Serving {self._name}"

    async def dir_exists(self, path: str) -> bool:
        return path.strip("/") == ""

    async def is_hidden(self, path: str) -> bool:
        return False

    async def file_exists(self, path: str = "") -> bool:
        return path.strip("/") == self._name

    async def get(
        self,
        path: str,
        content: bool = True,
        type: str | None = None,
        format: str | None = None,
        require_hash: bool = False,
    ) -> dict[str, Any]:
        if await self.dir_exists(path) and type in (None, "directory"):
            return await self._folder(with_content=bool(content))
        self._require_own(path)
        if type == "directory":
            raise Refused(400, "This is a notebook, not a folder.")
        found = await self._ask("notebook")
        self._note(found)
        model = self._model()
        if content:
            text = found["payload"]
            notebook = await asyncio.to_thread(_read, text) if text else nbformat.from_dict(_NEW)
            self.mark_trusted_cells(notebook, path)
            model |= {"content": notebook, "format": "json", "size": len(text.encode())}
        return model

    async def _folder(self, *, with_content: bool) -> dict[str, Any]:
        model = self._model() | {"name": "", "path": "", "type": "directory", "writable": False}
        if with_content:
            model |= {"content": [self._model()], "format": "json"}
        return model

    def _model(self) -> dict[str, Any]:
        # Not of the bytes: the store may write the same content in another way.
        mark = hashlib.sha256(f"{self._version}".encode()).hexdigest()
        return {
            "name": self._name,
            "path": self._name,
            "type": "notebook",
            "writable": True,
            "created": self._modified_at,
            "last_modified": self._modified_at,
            "mimetype": None,
            "content": None,
            "format": None,
            "hash": mark,
            "hash_algorithm": "sha256",
        }

    async def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        """Make another version of it. HTTP 400 for what is no notebook, 413 for one too large."""
        self._require_own(path)
        if model.get("type") != "notebook" or not isinstance(model.get("content"), dict):
            raise Refused(400, "Only a notebook is saved here.")
        if model["content"].get("nbformat") != _FORMAT:
            raise Refused(400, f"This is no valid notebook: its nbformat is not {_FORMAT}.")
        notebook = nbformat.from_dict(model["content"])
        try:
            payload = await asyncio.to_thread(_written, notebook)
        except NotebookValidationError as error:
            raise Refused(400, f"This is no valid notebook: {error.message[:_SHOWN]}") from error
        if len(payload.encode()) > LARGEST:
            raise Refused(413, f"The notebook is larger than {LARGEST} bytes. Clear outputs.")
        self.check_and_sign(notebook, path)
        self._note(await self._ask("save", payload=payload))
        return self._model()

    def _note(self, found: dict[str, Any]) -> None:
        self._version = found["version"]
        if found["modified_at"]:
            self._modified_at = datetime.fromisoformat(found["modified_at"])

    async def _ask(self, what: str, **fields: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await self._server.desk.ask(what, **fields)
        except DeskError as error:
            raise refused(error) from error
        return answer

    def _require_own(self, path: str) -> None:
        if path.strip("/") != self._name:
            raise Refused(404, _ONE_FILE)

    async def new(self, model: Any = None, path: str = "") -> dict[str, Any]:
        raise Refused(403, _ONE_FILE)

    async def new_untitled(self, path: str = "", type: str = "", ext: str = "") -> dict[str, Any]:
        raise Refused(403, _ONE_FILE)

    async def copy(self, from_path: str, to_path: str | None = None) -> dict[str, Any]:
        raise Refused(403, _ONE_FILE)

    async def delete_file(self, path: str) -> None:
        raise Refused(403, _ONE_FILE)

    async def rename_file(self, old_path: str, new_path: str) -> None:
        raise Refused(403, _ONE_FILE)


def _read(text: str) -> Any:
    return nbformat.reads(text, as_version=4)


def _written(notebook: Any) -> str:
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook, version=nbformat.NO_CONVERT)
    return text
