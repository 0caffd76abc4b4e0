"""Reading the requirements file of a workgroup: a list of names, each with what it may be.

It is pip's own form, without what would bring in something that the file does not name, or that
changes while the file does not: other files, folders, editable installs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

#: Options of the whole file that may stand in it: where packages come from, and in which form.
ALLOWED: Final = (
    "-i",
    "--index-url",
    "--extra-index-url",
    "--no-index",
    "-f",
    "--find-links",
    "--trusted-host",
    "--only-binary",
    "--no-binary",
    "--prefer-binary",
    "--pre",
    "--require-hashes",
)
_LARGEST_BYTES: Final = 1 << 20
_CONTINUED: Final = re.compile(r"\\\r?\n")
#: As pip sees it: the fragment of an address is no comment.
_COMMENT: Final = re.compile(r"(^|\s)#.*$")
_OPTIONS: Final = re.compile(r"\s+(?=--?[A-Za-z])")
_ADDRESS: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)[^@;]*@\s*(?P<url>\S+)")
_NO_BINARY: Final = re.compile(r"--no-binary[\s=]+(\S+)")
_NAMED: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\s*($|[\[<>=!~;@(])")


class PackagesError(Exception):
    """A workgroup's packages cannot be had; the text says why, for its users and its operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """A requirements file, taken apart."""

    file: Path
    content: bytes
    #: Lines that hold for the whole file.
    options: Sequence[str]
    #: Each requirement without its hashes...
    lines: Sequence[str]
    #: ...and the options with its hashes, in the same order.
    hashes: Sequence[str]

    @property
    def hashed(self) -> bool:
        """One hash, and everything must have one: what has none could be anything."""
        return any(self.hashes) or "--require-hashes" in self.options

    def text(self, install: Sequence[bool]) -> str:
        """The file again, with those of the requirements that are to be installed."""
        kept = [
            f"{line} {hashes}".rstrip()
            for line, hashes, wanted in zip(self.lines, self.hashes, install, strict=True)
            if wanted
        ]
        return "".join(f"{line}\n" for line in (*self.options, *kept))


def read(file: Path) -> Requirements:
    """Take the file apart. Raises :class:`PackagesError` that names the line."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_BYTES + 1)
        text = content.decode()
    except FileNotFoundError:
        raise PackagesError(f"there is no {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PackagesError(f"{file} cannot be read: {error}") from error
    if len(content) > _LARGEST_BYTES:
        raise PackagesError(f"{file} is larger than a mebibyte")
    try:
        options, lines, hashes = _parted(text)
    except PackagesError as error:
        raise PackagesError(f"{file}: {error}") from None
    return Requirements(file=file, content=content, options=options, lines=lines, hashes=hashes)


def _parted(text: str) -> tuple[list[str], list[str], list[str]]:
    options, lines, hashes = [], [], []
    for raw in _CONTINUED.sub(" ", text).splitlines():
        line = _COMMENT.sub("", raw).strip()
        if line.startswith("-"):
            options.append(_option(line))
        elif line:
            wanted, hashed = _requirement(line)
            lines.append(wanted)
            hashes.append(hashed)
    _refuse_sources(lines, _built(options))
    return options, lines, hashes


def _refuse_sources(lines: Sequence[str], built: set[str]) -> None:
    """pip itself does not hold against --only-binary what has an address."""
    for line in lines:
        found = _ADDRESS.match(line)
        if found is None or urlsplit(found["url"]).path.endswith(".whl"):
            continue
        if not built & {":all:", _plain(found["name"])}:
            raise PackagesError(
                f"{line}: that is no wheel; a line --no-binary {found['name']} lets its code run "
                "here"
            )


def _built(options: Sequence[str]) -> set[str]:
    """The names that may come as a source, of which pip runs code to build them."""
    given = (names for option in options for names in _NO_BINARY.findall(option))
    return {_plain(name) for names in given for name in names.split(",")}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _option(line: str) -> str:
    # pip takes several in one line.
    for word in line.split():
        name = word.partition("=")[0]
        is_short = name[:2] in ALLOWED and not name.startswith("--")
        if word.startswith("-") and name not in ALLOWED and not is_short:
            raise PackagesError(
                f"{line}: the file must name every package itself; {name} is not allowed"
            )
    return line


def _requirement(line: str) -> tuple[str, str]:
    wanted, *options = _OPTIONS.split(line)
    for option in options:
        if not option.startswith("--hash="):
            raise PackagesError(f"{line}: behind a requirement only --hash may stand")
    if _NAMED.match(wanted) is None:
        raise PackagesError(
            f"{line}: a requirement begins with the package's name, as in name @ https://..."
        )
    return wanted, " ".join(options)
