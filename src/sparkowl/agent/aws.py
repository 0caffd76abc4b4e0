"""What AWS's tools in a session find: a profile in two files, and the variables that name them.

The files are written by the agent, and user code can only read them. What can be in a file is in a
file: a variable stays what it was at launch. Where the server is must be both. Arrow's S3, and so
pandas, and tools on Rust's object_store take their endpoint from nothing but a variable; and boto3
reads its files once. But a server that starts again may listen elsewhere: so the files follow it,
and the kernel keeps its own variables up to date, see :func:`keep_current`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, MutableMapping
from configparser import Error as ConfigError
from configparser import RawConfigParser
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sparkowl.agent.folder import Folder, write_plain
from sparkowl.agent.messages import DriverSpec

log = logging.getLogger(__name__)

_SERVICES: Final = "services sparkowl"
#: Where the kernel finds in the file what its variables should be. These are no profiles, and AWS's
#: tools pass over what they do not know.
_NOW: Final = "sparkowl"
_AT_LAUNCH: Final = "sparkowl at launch"


def environment(spec: DriverSpec) -> dict[str, str]:
    """The variables of kernel and JVM, from launch on. A role's own win over them."""
    folder, told = Folder(Path(spec.run_dir)), spec.aws
    found = {
        "AWS_SHARED_CREDENTIALS_FILE": str(folder.aws_credentials),
        "AWS_CONFIG_FILE": str(folder.aws_config),
        # Nobody waits for the keys of the machine, nor gets them.
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if "region" in told:
        found |= {"AWS_REGION": told["region"], "AWS_DEFAULT_REGION": told["region"]}
    found |= _endpoints(told, told.get("endpoint_url", ""))
    if found.get("AWS_ENDPOINT_URL_S3", "").startswith("http:"):
        # Rust's object_store refuses it without.
        found["AWS_ALLOW_HTTP"] = "true"
    return found


def _endpoints(told: Mapping[str, str], server: str) -> dict[str, str]:
    """The variables that say where services are, when the server is there."""
    if "endpoint_url_s3" in told:
        urls = {"AWS_ENDPOINT_URL_ATHENA": server, "AWS_ENDPOINT_URL_S3": told["endpoint_url_s3"]}
    else:
        # Everything is the server's: what it does not know it refuses, and no key leaves it.
        urls = {"AWS_ENDPOINT_URL": server, "AWS_ENDPOINT_URL_S3": server}
    return {name: url for name, url in urls.items() if url}


class Profile:
    """The two files, kept as the server says: where it is, and the session's keys."""

    def __init__(self, spec: DriverSpec) -> None:
        self._folder = Folder(Path(spec.run_dir))
        self._run_as = spec.run_as
        self._told = spec.aws
        self._server = spec.aws.get("endpoint_url", "")
        self._keys: Mapping[str, str] = {}
        #: There are newer keys than in the file.
        self._behind = False

    def give(self, keys: Mapping[str, str]) -> None:
        """From now on these are the session's keys. OSError when its first cannot be written.

        Later ones are written with the next keys then, or when the server moves: a disk that is
        full for a while must not end a session.
        """
        first, self._keys = not self._keys, keys
        try:
            self.write()
        except OSError as error:
            if first:
                raise
            log.warning("New keys could not be written: %s", error)

    def renew(self, keys: Mapping[str, str]) -> None:
        """As :meth:`give`, in a session that lives and goes on with the older ones where a full
        disk takes no others."""
        self._keys = keys
        self._behind = True
        self.catch_up()

    def catch_up(self) -> None:
        """Write keys that could not be written yet."""
        if not self._behind:
            return
        try:
            self.write()
        except OSError as error:
            log.warning("The session's new keys could not be written: %s", error)

    def follow(self, link: str) -> None:
        """The server's links are at ``link`` (``ws://…``) now, and so are its doors."""
        server = link.strip().rstrip("/").replace("ws", "http", 1)
        if not self._server or server == self._server:
            return
        was, self._server = self._server, server
        try:
            self.write()
        except OSError as error:
            # The link goes on without; it is tried again at the next dial.
            self._server = was
            log.warning("The profile of AWS's tools could not be written: %s", error)

    def write(self) -> None:
        """Put both files in place, each at once; whatever user code has put there is replaced."""
        keys = {"default": dict(self._keys)}
        write_plain(self._folder.aws_credentials, _text(keys), self._run_as)
        write_plain(
            self._folder.aws_config, _text(_sections(self._told, self._server)), self._run_as
        )
        self._behind = False


def _sections(told: Mapping[str, str], server: str) -> dict[str, dict[str, Any]]:
    profile: dict[str, Any] = {}
    if "region" in told:
        profile["region"] = told["region"]
    if "addressing_style" in told:
        profile["s3"] = {"addressing_style": told["addressing_style"]}
    sections = {"default": profile}
    if "endpoint_url_s3" in told:
        profile["services"] = _SERVICES.removeprefix("services ")
        services = {"athena": server, "s3": told["endpoint_url_s3"]}
        sections[_SERVICES] = {name: {"endpoint_url": url} for name, url in services.items() if url}
    elif server:
        profile["endpoint_url"] = server
    sections[_NOW] = _endpoints(told, server)
    sections[_AT_LAUNCH] = _endpoints(told, told.get("endpoint_url", ""))
    return sections


def _text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """As AWS writes its files: what is nested stands under its name, indented."""
    lines = []
    for section, members in sections.items():
        lines.append(f"[{section}]")
        for name, value in members.items():
            if isinstance(value, Mapping):
                lines += [f"{name} =", *(f"    {k} = {v}" for k, v in value.items())]
            else:
                lines.append(f"{name} = {value}")
    return "".join(f"{line}\n" for line in lines)


def keep_current(shell: Any, environ: MutableMapping[str, str]) -> None:
    """Before each block of an IPython shell, let the variables say where the server is now.

    One that the role or the user has set is left alone.
    """
    follower = _Follower(environ)
    shell.events.register("pre_run_cell", lambda _info: follower.look())


class _Follower:
    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._file = Path(environ.get("AWS_CONFIG_FILE", os.devnull))
        self._seen: object = None
        #: What we set variables to; before that they have what they had at launch.
        self._told: dict[str, str] = {}

    def look(self) -> None:
        with suppress(OSError, ValueError, KeyError, ConfigError):
            found = self._file.stat()
            if (seen := (found.st_ino, found.st_mtime_ns)) == self._seen:
                return
            parser = RawConfigParser()
            parser.optionxform = str  # type: ignore[assignment,method-assign]  # as its manual says
            parser.read_string(self._file.read_text())
            now, at_launch = dict(parser[_NOW]), dict(parser[_AT_LAUNCH])
            self._seen = seen
            for name, url in now.items():
                if self._environ.get(name) == self._told.get(name, at_launch.get(name)):
                    self._environ[name] = url
                    self._told[name] = url
