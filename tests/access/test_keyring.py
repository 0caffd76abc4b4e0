"""Who is behind a key, and how soon a change of it is noticed."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event
from tests.keys import allow, deny, text_of

from sparkowl import credentials
from sparkowl.access.keyring import Keyring, secret_of
from sparkowl.access.register import NewKey, Register
from sparkowl.clock import Manual
from sparkowl.config import DATABASE_FILE
from sparkowl.credentials import Credentials
from sparkowl.domain.access_key import Event, KeyRefusal
from sparkowl.domain.policy import ROOT
from sparkowl.store import Store, principals

START = "athena:StartSession"


class Bench:
    """A keyring, and the operator's hand on the same rows."""

    def __init__(self, store: Store, data_dir: Path, first: Credentials) -> None:
        self.clock = Manual()
        self.store = store
        self.data_dir = data_dir
        self.keyring = Keyring(store, data_dir, first, self.clock)
        self.register = Register(store, data_dir, self.clock)

    async def key(self, name: str = "alice") -> NewKey:
        return await self.register.create(name, text_of(allow(START)))

    async def opens(self, key_id: str) -> bool:
        return await self.keyring.find(key_id) is not None


@pytest.fixture
def bench(store: Store, tmp_path: Path, first: Credentials) -> Bench:
    return Bench(store, tmp_path, first)


async def test_the_first_key_is_roots(bench: Bench, first: Credentials) -> None:
    caller = await bench.keyring.find(first.access_key_id)

    assert caller is not None
    assert caller.principal is ROOT
    assert caller.secret == first.secret_access_key
    assert first.secret_access_key not in repr(caller)


async def test_a_made_key_has_its_secret_and_its_principals_policy(bench: Bench) -> None:
    made = await bench.key()

    caller = await bench.keyring.find(made.id)

    assert caller is not None
    assert (caller.secret, caller.principal.name) == (made.secret, "alice")
    assert caller.principal.allows(START, "*")
    assert not caller.principal.allows("athena:GetSession", "*")


@pytest.mark.parametrize(
    "key_id", [None, "", "AKIAAAAAAAAAAAAAAAAA", "a'; drop table access_keys", "\ud800", "x" * 999]
)
async def test_what_is_no_key_has_no_caller(bench: Bench, key_id: str | None) -> None:
    assert await bench.keyring.find(key_id) is None


async def test_a_secret_is_given_for_its_own_key_only(bench: Bench) -> None:
    caller = await bench.keyring.find((made := await bench.key()).id)

    assert secret_of(caller)(made.id) == made.secret
    assert secret_of(caller)("AKIAOTHER") is None
    assert secret_of(None)(made.id) is None


async def test_a_disabled_key_stops_within_a_second_and_may_be_enabled_again(bench: Bench) -> None:
    made = await bench.key()
    assert await bench.opens(made.id)

    await bench.register.change(made.id, Event.DISABLE)
    bench.clock.advance(1)
    assert not await bench.opens(made.id)

    await bench.register.change(made.id, Event.ENABLE)
    bench.clock.advance(1)
    assert await bench.opens(made.id)


async def test_a_new_key_opens_at_once_even_if_it_was_tried_before(bench: Bench) -> None:
    made = await bench.key()
    await bench.register.change(made.id, Event.DISABLE)
    assert not await bench.opens(made.id)
    assert not await bench.opens("AKIAZZZZZZZZZZZZZZZZ")

    second = await bench.register.create("alice", None)

    assert await bench.opens(second.id)


async def test_a_key_is_looked_up_once_a_second_at_most(bench: Bench) -> None:
    made = await bench.key()
    looks: list[str] = []
    event.listen(
        bench.store._database.engine,
        "before_cursor_execute",
        lambda _c, _cu, statement, *_: looks.append(statement),
    )

    for _ in range(50):
        assert await bench.opens(made.id)
    assert len(looks) == 1
    bench.clock.advance(0.999)
    assert await bench.opens(made.id)
    assert len(looks) == 1
    bench.clock.advance(0.001)
    assert await bench.opens(made.id)
    assert len(looks) == 2


async def test_a_clock_that_is_set_back_does_not_keep_a_key_alive(bench: Bench) -> None:
    made = await bench.key()
    assert await bench.opens(made.id)
    await bench.register.change(made.id, Event.DISABLE)

    bench.clock.advance(-3600)

    assert not await bench.opens(made.id)


async def test_a_new_policy_is_everybodys_within_a_second(bench: Bench) -> None:
    made = await bench.key()
    assert await bench.opens(made.id)

    await bench.register.set_policy("alice", text_of(allow("*"), deny(START)))
    bench.clock.advance(1)

    caller = await bench.keyring.find(made.id)
    assert caller is not None
    assert caller.principal.allows("athena:GetSession", "*")
    assert not caller.principal.allows(START, "*")


async def test_a_rotated_key_works_on_as_long_as_it_is_kept(bench: Bench) -> None:
    old = await bench.key()
    new = await bench.register.rotate(old.id, keep=timedelta(hours=2))

    assert new.principal == "alice"
    assert await bench.opens(new.id)
    assert await bench.opens(old.id)
    bench.clock.advance(2 * 3600 - 0.5)
    assert await bench.opens(old.id)
    bench.clock.advance(0.5)
    assert not await bench.opens(old.id)
    assert await bench.opens(new.id)


async def test_a_key_that_is_rotated_without_being_kept_stops(bench: Bench) -> None:
    old = await bench.key()

    new = await bench.register.rotate(old.id)

    assert not await bench.opens(old.id)
    assert await bench.opens(new.id)


async def test_the_first_key_can_be_rotated_while_the_server_runs(
    bench: Bench, first: Credentials
) -> None:
    assert await bench.opens(first.access_key_id)

    new = await bench.register.rotate(first.access_key_id)
    bench.clock.advance(1)

    assert not await bench.opens(first.access_key_id)
    caller = await bench.keyring.find(new.id)
    assert caller is not None
    assert (caller.secret, caller.principal) == (new.secret, ROOT)
    after = credentials.load(bench.data_dir)
    assert after is not None
    assert after.access_key_id == new.id
    assert after.key_for("links") == first.key_for("links")


async def test_the_old_first_key_may_be_kept_for_a_while(bench: Bench, first: Credentials) -> None:
    new = await bench.register.rotate(first.access_key_id, keep=timedelta(hours=1))
    bench.clock.advance(1)

    caller = await bench.keyring.find(first.access_key_id)
    assert caller is not None
    assert (caller.secret, caller.principal) == (first.secret_access_key, ROOT)
    assert await bench.opens(new.id)
    bench.clock.advance(3600)
    assert not await bench.opens(first.access_key_id)


async def test_a_rotation_that_was_cut_off_can_be_made_again(
    bench: Bench, first: Credentials
) -> None:
    """The row of the old key was written, the file was not replaced."""
    await bench.register.rotate(first.access_key_id, keep=timedelta(hours=1))
    credentials.replace_file(bench.data_dir, first)

    new = await bench.register.rotate(first.access_key_id, keep=timedelta(hours=2))
    bench.clock.advance(2 * 3600 - 1)

    assert await bench.opens(new.id)
    assert await bench.opens(first.access_key_id)


async def test_a_damaged_or_missing_file_leaves_the_first_key_as_it_was(
    bench: Bench, first: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    file = bench.data_dir / "credentials.json"
    text = file.read_text()
    file.write_text(text[:20])
    bench.clock.advance(1)
    assert await bench.opens(first.access_key_id)
    file.unlink()
    bench.clock.advance(1)
    assert await bench.opens(first.access_key_id)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert first.server_secret not in caplog.text

    other = json.loads(text) | {"access_key_id": "AKIAOTHER"}
    file.write_text(json.dumps(other))
    bench.clock.advance(1)
    assert await bench.opens("AKIAOTHER")


async def test_a_secret_sealed_for_another_key_opens_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever can write the database still cannot lend a principal the secret of another key."""
    mine, theirs = await bench.key("mallory"), await bench.key("alice")

    def move(tx: object) -> None:
        sealed = principals.find_holder(tx, mine.id).sealed  # type: ignore[union-attr, arg-type]
        tx.exec_driver_sql(  # type: ignore[attr-defined]
            "UPDATE access_keys SET secret = ? WHERE id = ?", (sealed, theirs.id)
        )

    await bench.store.write(move)

    assert not await bench.opens(theirs.id)
    assert mine.secret not in caplog.text
    assert await bench.opens(mine.id)


async def test_a_policy_that_cannot_be_read_allows_nothing(bench: Bench) -> None:
    made = await bench.key()
    await bench.store.write(lambda tx: principals.set_policy(tx, "alice", '{"Version":"2020"}'))

    caller = await bench.keyring.find(made.id)

    assert caller is not None
    assert not caller.principal.allows(START, "*")


async def test_where_only_the_first_key_is_let_in_all_others_stay_out(
    bench: Bench, first: Credentials
) -> None:
    made = await bench.key()
    await bench.register.rotate(first.access_key_id, keep=timedelta(hours=1))
    keyring = Keyring(bench.store, bench.data_dir, first, bench.clock, first_only=True)

    assert await keyring.find(made.id) is None
    assert await keyring.find(first.access_key_id) is not None
    bench.clock.advance(1)
    assert await keyring.find(first.access_key_id) is not None


# --- the register ------------------------------------------------------------------------------


async def test_a_database_alone_gives_no_secret(bench: Bench, first: Credentials) -> None:
    made = await bench.key()
    await bench.register.rotate(first.access_key_id, keep=timedelta(hours=1))
    bench.store.close()

    content = b"".join(
        file.read_bytes()
        for file in bench.data_dir.iterdir()
        if file.name.startswith(DATABASE_FILE)
    )

    assert made.id.encode() in content
    assert made.secret.encode() not in content
    assert first.secret_access_key.encode() not in content


async def test_what_is_refused_leaves_nothing_behind(bench: Bench, first: Credentials) -> None:
    made = await bench.key()
    before = await bench.register.list()

    for refused in (
        bench.register.create("bob", None),
        bench.register.create("alice", text_of(allow("*"))),
        bench.register.change("AKIANONE", Event.DISABLE),
        bench.register.change(first.access_key_id, Event.DISABLE),
        bench.register.rotate("AKIANONE"),
        bench.register.rotate(made.id, keep=timedelta(days=8)),
        bench.register.rotate(first.access_key_id, keep=timedelta(days=8)),
        bench.register.set_policy("bob", text_of(allow("*"))),
        bench.register.set_policy("root", text_of(allow("*"))),
        bench.register.policy("root"),
    ):
        with pytest.raises(KeyRefusal):
            await refused

    assert await bench.register.list() == before
    assert credentials.load(bench.data_dir) == first


async def test_a_principal_may_have_several_keys(bench: Bench) -> None:
    one = await bench.key()
    two = await bench.register.create("alice", None)
    three = await bench.register.create("alice", text_of(allow(START)))

    assert len({one.id, two.id, three.id}) == 3
    assert [key.principal for key in await bench.register.list()] == ["root", *["alice"] * 3]


async def test_a_key_keeps_its_file_private(bench: Bench, first: Credentials) -> None:
    await bench.register.rotate(first.access_key_id)

    assert (bench.data_dir / "credentials.json").stat().st_mode & 0o777 == 0o600
