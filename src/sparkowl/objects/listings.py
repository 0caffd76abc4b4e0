"""Keys in S3's order, page by page, read straight from the folders.

S3 orders keys by their UTF-8 bytes. Sorting each folder by decoded name, with ``/`` after the name
of a folder, gives just that order when folders are entered as they come: nothing below ``d/`` can
sort anywhere else. So a page needs no index and no state but the last key before it, whole folders
before that key are never opened, and memory follows the widest folder, not the bucket. (The order
of Python's strings is that of their UTF-8 bytes.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from heapq import heapify, heappop
from typing import NamedTuple

from sparkowl.objects import attributes
from sparkowl.objects.attributes import Entry
from sparkowl.objects.keys import MAX_KEY_BYTES, escaped, is_checksum, unescaped

Opener = Callable[[tuple[str, ...]], AbstractContextManager[int]]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing."""

    entries: tuple[Entry, ...]
    #: Keys rolled up to the delimiter, in order.
    prefixes: tuple[str, ...]
    #: Where the next page starts (its ``after``); None when this is the last one.
    next_after: str | None


class Node(NamedTuple):
    """A file or folder on the way."""

    #: That of a folder ends in ``/``.
    key: str
    folder: tuple[str, ...]
    #: Empty for the marker that the folder itself is.
    name: str
    has_children: bool


class Walk:
    """The keys after ``after`` that begin with ``prefix``, in order."""

    def __init__(self, opener: Opener, *, prefix: str, after: str) -> None:
        self._opened = opener
        self._prefix = prefix
        self._after = after
        self._skipped: str | None = None

    def skip(self, prefix: str) -> None:
        """From here on, pass over all keys that begin with ``prefix``."""
        self._skipped = prefix

    def __iter__(self) -> Iterator[Node]:
        head, slash, _ = self._prefix.rpartition("/")
        folder = tuple(escaped(segment) for segment in head.split("/")) if slash else ()
        # A stack of its own, not recursion: a key may be 512 folders deep.
        stack = [self._nodes(folder, head + slash)]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
            elif self._skipped is not None and node.key.startswith(self._skipped):
                continue
            elif node.has_children:
                stack.append(self._nodes((*node.folder, node.name), node.key))
            else:
                yield node

    def _nodes(self, folder: tuple[str, ...], above: str) -> Iterator[Node]:
        """The nodes of a folder that may be wanted, in order; none where it is gone meanwhile.

        A page of a wide folder takes few of its names: a heap hands them out without sorting all.
        """
        try:
            with self._opened(folder) as fd:
                segments = self._segments(fd, above)
                marked = self._wanted(above) and attributes.folder_entry(fd, above) is not None
        except (FileNotFoundError, ValueError):  # ValueError: a NUL in the prefix
            return
        if marked:
            yield Node(above, folder, "", has_children=False)
        heapify(segments)
        while segments:
            segment = heappop(segments)
            key, name = above + segment, escaped(segment.removesuffix("/"))
            if segment.endswith("/"):
                if _is_key(key[:-1]) and self._wanted_below(key):
                    yield Node(key, folder, name, has_children=True)
            elif not is_checksum(name) and _is_key(key) and self._wanted(key):
                yield Node(key, folder, name, has_children=False)

    def _segments(self, fd: int, above: str) -> list[str]:
        """What a folder holds, folders with a slash, in no order, and without most of what cannot
        come after ``after``."""
        after = self._after.removeprefix(above) if self._after.startswith(above) else ""
        floor = after.partition("/")[0]
        found: list[str] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                segment = name if name[0] != "%" else unescaped(name)
                if segment is None or (segment < floor and not floor.startswith(segment)):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found.append(segment + "/")
                elif segment and entry.is_file(follow_symlinks=False):
                    found.append(segment)
        return found

    def _wanted(self, key: str) -> bool:
        return key.startswith(self._prefix) and key > self._after

    def _wanted_below(self, key: str) -> bool:
        """Whether a folder may hold what is wanted."""
        prefix, after = self._prefix, self._after
        inside = key.startswith(prefix) or prefix.startswith(key)
        return inside and (key > after or after.startswith(key))


def _is_key(key: str) -> bool:
    try:
        return len(key.encode()) <= MAX_KEY_BYTES
    except UnicodeEncodeError:  # a name on disk that is no UTF-8 cannot be asked for
        return False


def gather(walk: Walk, *, prefix: str, delimiter: str, after: str, limit: int) -> list[Node | str]:
    """Up to ``limit`` keys (nodes) and rolled up prefixes (strings), in order."""
    if _rolled_up(after, prefix, delimiter) == after:
        # The last page ended with this prefix; what it stands for was listed with it.
        walk.skip(after)
    found: list[Node | str] = []
    for node in walk:
        if len(found) == limit:
            break
        rolled_up = _rolled_up(node.key, prefix, delimiter)
        if rolled_up is None:
            found.append(node)
        else:
            found.append(rolled_up)
            walk.skip(rolled_up)
    return found


def _rolled_up(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix that stands for a key; None where it stands for itself."""
    if not delimiter or not key.startswith(prefix):
        return None
    end = key.find(delimiter, len(prefix))
    return None if end < 0 else key[: end + len(delimiter)]
