"""Which notebook a StartSession asks for, as far as its members alone tell.

``AdditionalConfigs`` names a notebook of the workgroup (``NotebookId``) or a file that becomes one
(``NotebookFileURI``). With ``NotebookVersion`` alone the session has a fresh notebook.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from sparkowl.domain import locations, web
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.locations import Location
from sparkowl.domain.notebook import LONGEST_NAME, NOTEBOOK_VERSIONS, SUFFIX
from sparkowl.domain.web import WebAddress

ID: Final = "NotebookId"
FILE: Final = "NotebookFileURI"
_PLACE: Final = "EngineConfiguration.AdditionalConfigs"
#: How errors call it.
FILE_MEMBER: Final = f"{_PLACE}.{FILE}"
ID_MEMBER: Final = f"{_PLACE}.{ID}"

#: What a name must not have, and what no page can show.
_NOT_IN_NAMES: Final = re.compile(r"[/:\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class S3File:
    """An object that becomes a notebook."""

    place: Location

    @property
    def name(self) -> str:
        return _name(self.place.key.rpartition("/")[2])


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file on the web that becomes a notebook."""

    address: WebAddress

    @property
    def name(self) -> str:
        return _name(unquote(self.address.path.rpartition("/")[2]))


@dataclass(frozen=True, slots=True)
class Opening:
    """What is asked for: at most one of the two, and then a ``version``, too."""

    version: str | None = None
    notebook_id: str | None = None
    file: S3File | WebFile | None = None


def asked(request: Mapping[str, Any]) -> Opening:
    """What a StartSession asks for; InvalidRequest where its members break a rule."""
    configs = request.get("EngineConfiguration", {}).get("AdditionalConfigs", {})
    version, notebook_id = request.get("NotebookVersion"), configs.get(ID)
    if version is None:
        for name in (ID, FILE):
            if name in configs:
                raise InvalidRequest(f"NotebookVersion is required when {name} is provided.")
        return Opening()
    if version not in NOTEBOOK_VERSIONS:
        known = " or ".join(f"'{one}'" for one in NOTEBOOK_VERSIONS)
        raise InvalidRequest(f"NotebookVersion must be {known}, not '{version}'.")
    if FILE not in configs:
        return Opening(version, notebook_id)
    if notebook_id is not None:
        raise InvalidRequest(f"{_PLACE} has {ID} and {FILE}; a session opens one notebook.")
    return Opening(version, None, file_of(configs[FILE]))


def file_of(uri: str) -> S3File | WebFile:
    """The file that a NotebookFileURI names; InvalidRequest unless it can be a notebook's."""
    if uri.startswith("https:"):
        address = _web(uri)
        _require_suffix(unquote(address.path))
        return WebFile(address)
    try:
        place = locations.parse_object(uri)
    except ValueError:
        raise InvalidRequest(
            f"{FILE_MEMBER} must be of the form s3://bucket/key{SUFFIX} or "
            f"https://host/path{SUFFIX}."
        ) from None
    _require_suffix(place.key)
    return S3File(place)


def _require_suffix(path: str) -> None:
    if not path.lower().endswith(SUFFIX):
        raise InvalidRequest(f"{FILE_MEMBER} must name a notebook: its path ends in {SUFFIX}.")


def _web(uri: str) -> WebAddress:
    try:
        return web.parse(uri)
    except ValueError as error:
        raise InvalidRequest(f"{FILE_MEMBER} {error}.") from None


def web_file(request: Mapping[str, Any]) -> str | None:
    """The URI of a file on the web that a kept request names."""
    configs = request.get("EngineConfiguration", {}).get("AdditionalConfigs", {})
    uri = configs.get(FILE, "")
    return uri if uri.startswith("https:") else None


def refuse_default(configuration: Mapping[str, Any]) -> None:
    """Raise for a workgroup's EngineConfiguration that names a notebook: each session has one of
    its own."""
    for name in (ID, FILE):
        if name in configuration.get("AdditionalConfigs", {}):
            raise InvalidRequest(f"{_PLACE}.{name} belongs to a session, not to a workgroup.")


def _name(file: str) -> str:
    """A notebook's name, from that of a file. Files that begin with a dot are hidden from pages."""
    name = _NOT_IN_NAMES.sub("-", file).strip().lstrip(".")
    # What is left of ".ipynb" without its dot, or of "a.ipynb.ipynb".
    while name.lower().endswith(SUFFIX):
        name = name[: -len(SUFFIX)].strip()
    return name[:LONGEST_NAME] if name and name.lower() != SUFFIX[1:] else "notebook"
