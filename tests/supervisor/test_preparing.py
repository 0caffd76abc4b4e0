"""What a session's driver is told of packages while they are looked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tests.builders import make_session
from tests.shelves import MakeBelievePackages

from sparkowl.domain.ids import SessionId
from sparkowl.supervisor.means import Means
from sparkowl.supervisor.preparing import Preparing

FOLDER = Path("/cache/packages/key/site")


@dataclass
class Needed:
    """Of the means, what preparing takes."""

    packages: MakeBelievePackages = field(default_factory=MakeBelievePackages)
    prepared: set[SessionId] = field(default_factory=set)


async def test_a_driver_that_is_given_new_keys_meanwhile_is_told_no_folder() -> None:
    """Its adoption may be repeated while a server that was restarted looks for the packages."""
    means, one = Needed(), make_session()
    means.packages.outcomes[one.work_group] = FOLDER
    means.packages.hold()
    preparing = Preparing(cast("Means", means), lambda _: None)

    preparing.begin(one)
    await asyncio.sleep(0)
    before = preparing.folder(one.id)
    means.packages.release()
    while not means.prepared:
        await asyncio.sleep(0)

    assert (before, preparing.folder(one.id)) == ("", str(FOLDER))
    await preparing.close()


async def test_why_there_are_no_packages_is_no_folder() -> None:
    means, one, news = Needed(), make_session(), asyncio.Event()
    means.packages.outcomes[one.work_group] = "there is no /etc/r.txt"
    preparing = Preparing(cast("Means", means), lambda _: news.set())

    preparing.begin(one)
    await news.wait()

    assert preparing.folder(one.id) == ""
    await preparing.close()
