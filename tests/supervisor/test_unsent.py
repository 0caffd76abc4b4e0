"""Outputs that were put aside while a service was away."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.builders import make_calculation, make_session
from tests.storages import SwitchedStorage

from sparkowl.clock import Manual
from sparkowl.domain.encryption import Encryption
from sparkowl.domain.locations import Location
from sparkowl.objects.errors import NoSuchBucket, StorageUnreachable
from sparkowl.objects.files import Files
from sparkowl.objects.folder_storage import FolderStorage
from sparkowl.supervisor.outputs import EMPTY
from sparkowl.supervisor.unsent import REFUSED_AGAIN_S, Bounds, Unsent
from sparkowl.supervisor.workqueue import MAX_BACKOFF_S, Rest

CONTENT = {"stdout": b"said", "stderr": b"", "result.json": b"{}"}
ENCRYPTED = {"EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": "k"}}
SESSION = make_session(output_location="s3://results")
CALCULATION = replace(make_calculation(), output_location="s3://results/c")


class Scene:
    def __init__(self, folder: Path, *, size_bytes: int = 1000) -> None:
        self.folder = folder / "unsent"
        self.files = Files(folder / "buckets", folder / "staging")
        self.files.create_bucket("results")
        self.storage = SwitchedStorage(FolderStorage(self.files))
        self.clock = Manual()
        self.bounds = Bounds(age=timedelta(days=7), size_bytes=size_bytes)
        self.woken = 0
        self.unsent = self.again()

    def again(self) -> Unsent:
        """As a server that starts on the same folder."""
        made = Unsent(self.folder, self.storage, self.clock, self.bounds)
        made.listen(self.wake)
        return made

    def wake(self) -> None:
        self.woken += 1

    def read(self, name: str) -> bytes:
        return self.files.read_bytes("results", f"c/{name}")

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*"))


async def rested(unsent: Unsent) -> float | None:
    verdict = await unsent.reconcile()
    assert isinstance(verdict, Rest)
    return verdict.seconds


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_what_is_kept_is_sent_and_nothing_is_left(scene: Scene) -> None:
    session = replace(SESSION, request=ENCRYPTED)

    await scene.unsent.keep(session, CALCULATION, CONTENT)
    assert scene.woken == 1
    assert scene.left == [CALCULATION.id]

    assert await rested(scene.unsent) is None
    assert {name: scene.read(name) for name in CONTENT} == CONTENT
    assert scene.storage.encryptions["c/stdout"] == Encryption("SSE_KMS", "k")
    assert scene.left == []


async def test_a_server_that_has_nothing_to_send_rests(scene: Scene) -> None:
    assert await rested(scene.unsent) is None
    assert scene.storage.refused == 0


async def test_an_outage_is_waited_for_with_growing_pauses(scene: Scene) -> None:
    scene.storage.trouble = StorageUnreachable("it does not answer")
    await scene.unsent.keep(SESSION, CALCULATION, CONTENT)

    pauses = [await rested(scene.unsent) for _ in range(8)]

    assert pauses[:3] == [2, 4, 8]
    assert pauses[-1] == MAX_BACKOFF_S
    assert scene.unsent.waits
    scene.storage.trouble = None
    assert await rested(scene.unsent) is None
    assert not scene.unsent.waits
    assert scene.read("stdout") == b"said"


async def test_one_that_is_away_is_asked_once_however_much_waits(scene: Scene) -> None:
    scene.storage.trouble = StorageUnreachable("it does not answer")
    for number in range(5):
        await scene.unsent.keep(SESSION, replace(CALCULATION, id=f"c{number}"), CONTENT)  # type: ignore[arg-type]

    await rested(scene.unsent)

    assert scene.storage.refused == 1


async def test_a_server_that_starts_again_sends_what_an_earlier_one_kept(scene: Scene) -> None:
    await scene.unsent.keep(SESSION, CALCULATION, CONTENT)

    assert await rested(scene.again()) is None

    assert scene.read("result.json") == b"{}"


async def test_what_was_not_completed_by_a_server_that_died_is_cleared(scene: Scene) -> None:
    (scene.folder / "half").mkdir(parents=True)
    (scene.folder / "half" / "stdout").write_bytes(b"half")

    await rested(scene.again())

    assert scene.left == []


async def test_what_comes_while_it_is_sent_is_not_lost(scene: Scene) -> None:
    await scene.unsent.keep(SESSION, CALCULATION, EMPTY)

    class Slow(SwitchedStorage):
        """More comes in the middle of a put."""

        async def put(
            self, place: Location, content: bytes, encryption: Encryption | None = None
        ) -> None:
            await super().put(place, content, encryption)
            if place.key == "c/stdout" and content == b"":
                await scene.unsent.keep(SESSION, CALCULATION, CONTENT)

    scene.unsent = Unsent(scene.folder, Slow(FolderStorage(scene.files)), scene.clock, scene.bounds)

    await rested(scene.unsent)
    assert scene.left == [CALCULATION.id]
    await rested(scene.unsent)

    assert scene.left == []
    assert scene.read("stdout") == b"said"


async def test_what_is_kept_again_counts_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path, size_bytes=500)

    for content in (b"1" * 400, b"2" * 400):
        await scene.unsent.keep(SESSION, CALCULATION, {"stdout": content})
    await rested(scene.unsent)

    assert scene.read("stdout") == b"2" * 400


async def test_what_is_refused_does_not_hold_up_others_and_is_tried_again(scene: Scene) -> None:
    await scene.unsent.keep(SESSION, CALCULATION, CONTENT)
    elsewhere = replace(CALCULATION, id="0-first", output_location="s3://nowhere/c")  # type: ignore[arg-type]
    await scene.unsent.keep(SESSION, elsewhere, CONTENT)

    assert await rested(scene.unsent) == REFUSED_AGAIN_S

    assert scene.read("stdout") == b"said"
    assert scene.left == ["0-first"]
    scene.files.create_bucket("nowhere")
    assert await rested(scene.unsent) is None
    assert scene.left == []


async def test_a_bucket_that_cannot_be_reached_does_not_hold_up_those_of_others(
    scene: Scene,
) -> None:
    class OneAway(SwitchedStorage):
        async def put(
            self, place: Location, content: bytes, encryption: Encryption | None = None
        ) -> None:
            if place.bucket == "away":
                raise StorageUnreachable("its key service is busy")
            await super().put(place, content, encryption)

    await scene.unsent.keep(SESSION, CALCULATION, CONTENT)
    away = replace(CALCULATION, id="0-first", output_location="s3://away/c")  # type: ignore[arg-type]
    await scene.unsent.keep(SESSION, away, CONTENT)
    unsent = Unsent(scene.folder, OneAway(FolderStorage(scene.files)), scene.clock, scene.bounds)

    assert await rested(unsent) == 2

    assert scene.read("stdout") == b"said"
    assert scene.left == [away.id]
    assert unsent.waits


async def test_what_cannot_be_read_does_not_hold_up_others(scene: Scene) -> None:
    await scene.unsent.keep(SESSION, CALCULATION, CONTENT)
    broken = replace(CALCULATION, id="0-first")  # type: ignore[arg-type]
    await scene.unsent.keep(SESSION, broken, {"stderr": b""})
    (scene.folder / broken.id / "stdout").mkdir()

    assert await rested(scene.unsent) == REFUSED_AGAIN_S

    assert scene.read("stdout") == b"said"
    assert scene.left == [broken.id]


async def test_fillers_take_the_place_of_nothing(scene: Scene) -> None:
    scene.files.put_bytes("results", "c/stdout", b"there")
    await scene.unsent.keep(SESSION, CALCULATION, {"stderr": b"kept"})

    await scene.unsent.keep(SESSION, CALCULATION, EMPTY, fillers=True)
    await rested(scene.unsent)

    assert scene.read("stdout") == b"there"
    assert scene.read("stderr") == b"kept"
    assert scene.read("result.json") == EMPTY["result.json"]


async def test_what_comes_after_fillers_takes_their_place(scene: Scene) -> None:
    scene.files.put_bytes("results", "c/stdout", b"older")
    await scene.unsent.keep(SESSION, CALCULATION, EMPTY, fillers=True)

    await scene.unsent.keep(SESSION, CALCULATION, CONTENT)
    await rested(scene.unsent)

    assert scene.read("stdout") == b"said"


async def test_what_is_older_than_its_bound_is_given_up(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.storage.trouble = NoSuchBucket("no")
    await scene.unsent.keep(SESSION, CALCULATION, CONTENT)

    scene.clock.advance(timedelta(days=7, seconds=1).total_seconds())
    await rested(scene.unsent)

    assert scene.left == []
    assert "outputs given up: too old" in caplog.text


async def test_what_does_not_fit_its_bound_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path, size_bytes=500)
    await scene.unsent.keep(SESSION, CALCULATION, {"stdout": b"1" * 200})
    more = replace(CALCULATION, id="more")  # type: ignore[arg-type]

    await scene.unsent.keep(SESSION, more, {"stdout": b"1" * 400})

    assert scene.left == [CALCULATION.id]
    assert "objects.unsent_mb is used up" in caplog.text
