"""Whether who was let in once may stay."""

from __future__ import annotations

from pathlib import Path

from tests.keys import allow, text_of

from sparkowl.access.register import Register
from sparkowl.access.standing import MAX_AGE, Standing
from sparkowl.clock import Manual
from sparkowl.credentials import Credentials
from sparkowl.domain.access_key import Event
from sparkowl.domain.policy import ROOT
from sparkowl.store import Store

LINK = "athena:CreatePresignedNotebookUrl"


async def test_somebody_stays_until_the_last_key_is_disabled(
    store: Store, tmp_path: Path, first: Credentials
) -> None:
    clock = Manual()
    standing, register = Standing(store, clock), Register(store, tmp_path, clock)
    key = await register.create("anna", text_of(allow(LINK)))
    other = await register.create("anna", None)

    found = await standing.of("anna")
    assert found is not None
    assert found.allows(LINK, "*")
    await register.change(key.id, Event.DISABLE)
    clock.advance(MAX_AGE.total_seconds())
    assert await standing.of("anna") is not None
    await register.change(other.id, Event.DISABLE)
    assert await standing.of("anna") is not None, "it is looked again after a while only"
    clock.advance(MAX_AGE.total_seconds())
    assert await standing.of("anna") is None
    await register.change(key.id, Event.ENABLE)
    clock.advance(MAX_AGE.total_seconds())
    assert await standing.of("anna") is not None


async def test_a_new_policy_holds_for_who_is_there(
    store: Store, tmp_path: Path, first: Credentials
) -> None:
    clock = Manual()
    standing, register = Standing(store, clock), Register(store, tmp_path, clock)
    await register.create("anna", text_of(allow(LINK)))
    assert await standing.of("anna") is not None

    await register.set_policy("anna", text_of(allow("athena:GetSession")))
    clock.advance(MAX_AGE.total_seconds())

    found = await standing.of("anna")
    assert found is not None
    assert not found.allows(LINK, "*")


async def test_the_first_keys_holder_is_always_there_and_a_stranger_never(
    store: Store, tmp_path: Path, first: Credentials
) -> None:
    standing = Standing(store, Manual())

    assert await standing.of("root") is ROOT
    assert await standing.of("nobody") is None
    assert await standing.of("") is None


async def test_where_only_the_first_key_gets_in_nobody_else_stays(
    store: Store, tmp_path: Path, first: Credentials
) -> None:
    clock = Manual()
    await Register(store, tmp_path, clock).create("anna", text_of(allow(LINK)))
    standing = Standing(store, clock, first_only=True)

    assert await standing.of("anna") is None
    assert await standing.of("root") is ROOT


async def test_a_clock_that_was_set_back_is_no_reason_to_believe_what_is_old(
    store: Store, tmp_path: Path, first: Credentials
) -> None:
    clock = Manual()
    standing, register = Standing(store, clock), Register(store, tmp_path, clock)
    key = await register.create("anna", text_of(allow(LINK)))
    assert await standing.of("anna") is not None
    await register.change(key.id, Event.DISABLE)

    clock.advance(-3600)

    assert await standing.of("anna") is None
