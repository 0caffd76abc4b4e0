"""Which of the buckets' folders the metastore knows. They become more while it runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

Mount = Callable[[Mapping[str, str]], Awaitable[None]]


class Mounted:
    def __init__(self, root: str | None) -> None:
        """``root`` is the folder of the buckets; None: there are none in folders."""
        self._root = root
        self._looking = asyncio.Lock()
        self._known: dict[str, str] = {}
        self._seen: int | None = None

    def begin(self) -> Mapping[str, str]:
        """The folder of each bucket that there is: a metastore that starts now knows these."""
        self._seen, self._known = self._stamp(), self._found()
        return self._known

    async def look(self, mount: Mount) -> None:
        """Have buckets mounted that appeared since. Cheap where nothing changed."""
        if self._stamp() == self._seen:
            return
        # Who asks meanwhile waits as well: it may be about the same bucket.
        async with self._looking:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            new = {k: v for k, v in self._found().items() if self._known.get(k) != v}
            try:
                if new:
                    await mount(new)
                self._known |= new
            finally:
                # What failed is tried again with the next bucket, not for each question till then.
                self._seen = stamp

    def _stamp(self) -> int | None:
        """Another one whenever there is another bucket. Taken before a look at them: one that is
        made meanwhile is found the next time."""
        return None if self._root is None else Path(self._root).stat().st_mtime_ns

    def _found(self) -> dict[str, str]:
        if self._root is None:
            return {}
        return {
            entry.name: entry.path
            for entry in os.scandir(self._root)
            if entry.is_dir(follow_symlinks=False)
        }
