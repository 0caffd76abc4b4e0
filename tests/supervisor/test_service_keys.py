"""Whose keys a session has at an S3 service, and when it gets others."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import boto3
import pytest
from tests.builders import AT, make_session

from sparkowl.clock import Manual
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.service import Keys
from sparkowl.domain.service_keys import KeySources
from sparkowl.domain.session import Session
from sparkowl.supervisor.means import KeysAway, KeysRefused
from sparkowl.supervisor.service_keys import (
    AGAIN_AFTER,
    LASTS,
    RENEWED_BEFORE,
    Assumed,
    ServiceKeys,
    TokenService,
)

ETL = "arn:aws:iam::123456789012:role/etl"
OTHER = "arn:aws:iam::123456789012:role/other"
SESSION = make_session()
OWN, UNMAPPED, COMMON = Keys("own", "1"), Keys("unmapped", "2"), Keys("common", "3")


def session(role: str | None) -> Session:
    return replace(SESSION, request={} if role is None else {"ExecutionRole": role})


class MakeBelieveTokens:
    """A token service that counts."""

    def __init__(self, clock: Manual) -> None:
        self.clock = clock
        self.asked: list[tuple[str, str]] = []
        self.refused = 0
        self.trouble: Exception | None = None

    def assume(self, role: str, name: str) -> Assumed:
        if self.trouble is not None:
            self.refused += 1
            raise self.trouble
        self.asked.append((role, name))
        key_id = f"assumed-{len(self.asked)}"
        return Assumed({"aws_access_key_id": key_id}, self.clock.now() + LASTS)


async def id_of(keys: ServiceKeys, role: str | None) -> str:
    return (await keys.of(session(role)))["aws_access_key_id"]


async def test_a_roles_own_section_wins() -> None:
    clock = Manual()
    tokens = MakeBelieveTokens(clock)
    keys = ServiceKeys(
        clock, by_role={ETL: OWN}, unmapped=UNMAPPED, assume=tokens.assume, default=COMMON
    )

    assert await id_of(keys, ETL) == "own"
    assert await id_of(keys, OTHER) == "assumed-1"
    assert await id_of(keys, None) == "unmapped"


async def test_without_a_token_service_the_others_follow() -> None:
    keys = ServiceKeys(Manual(), by_role={ETL: OWN}, default=COMMON)

    assert await keys.of(session(OTHER)) == {
        "aws_access_key_id": "common",
        "aws_secret_access_key": "3",
    }
    assert await id_of(keys, None) == "common"
    with pytest.raises(KeysRefused):
        await id_of(ServiceKeys(Manual(), by_role={ETL: OWN}), OTHER)


async def test_assumed_keys_are_kept_until_shortly_before_their_end() -> None:
    clock = Manual()
    tokens = MakeBelieveTokens(clock)
    keys = ServiceKeys(clock, by_role={}, assume=tokens.assume)

    assert await id_of(keys, ETL) == "assumed-1"
    clock.advance((LASTS - RENEWED_BEFORE).total_seconds())
    assert await id_of(keys, ETL) == "assumed-1"
    clock.advance(1)
    assert await id_of(keys, ETL) == "assumed-2"

    assert tokens.asked[0] == (ETL, f"AthenaExecutor-{SESSION.id}")


async def test_a_token_service_that_is_away_is_no_loss_while_the_keys_are_good() -> None:
    clock = Manual()
    tokens = MakeBelieveTokens(clock)
    keys = ServiceKeys(clock, by_role={}, assume=tokens.assume)
    await id_of(keys, ETL)
    tokens.trouble = KeysAway("away")

    clock.advance((LASTS - timedelta(minutes=1)).total_seconds())
    assert await id_of(keys, ETL) == "assumed-1"
    clock.advance(60)
    with pytest.raises(KeysAway):
        await id_of(keys, ETL)


async def test_sessions_whose_keys_are_good_do_not_wait_at_each_look_for_one_that_is_away() -> None:
    clock = Manual()
    tokens = MakeBelieveTokens(clock)
    keys = ServiceKeys(clock, by_role={}, assume=tokens.assume)
    await id_of(keys, ETL)
    tokens.trouble = KeysAway("away")
    clock.advance((LASTS - timedelta(minutes=10)).total_seconds())

    for _ in range(3):
        assert await id_of(keys, ETL) == "assumed-1"
    assert tokens.refused == 1

    tokens.trouble = None
    clock.advance(AGAIN_AFTER.total_seconds())
    assert await id_of(keys, ETL) == "assumed-2"


def test_a_start_is_refused_where_no_keys_could_be_had() -> None:
    sources = KeySources(roles=frozenset({ETL}))
    sources.require(ETL)
    for role in (OTHER, None):
        with pytest.raises(InvalidRequest) as refused:
            sources.require(role)
        for setting in ("access_key_id", "objects.assume_roles", "objects.session_access_key_id"):
            assert setting in str(refused.value)

    KeySources(assumes=True).require(OTHER)
    with pytest.raises(InvalidRequest, match="without an ExecutionRole"):
        KeySources(assumes=True).require(None)
    for anybody in (KeySources(default=True), KeySources(unmapped=True)):
        anybody.require(OTHER)
        anybody.require(None)


# --- a real one --------------------------------------------------------------------------------


def test_a_token_service_gives_keys_of_the_role_under_the_sessions_name(moto: str) -> None:
    found = TokenService(region="eu-west-1", endpoint=moto, keys=OWN).assume(
        ETL, "AthenaExecutor-x"
    )

    assert set(found.keys) == {
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
    }
    client = boto3.client("sts", endpoint_url=moto, region_name="eu-west-1", **found.keys)
    assert client.get_caller_identity()["Arn"].endswith("assumed-role/etl/AthenaExecutor-x")
    assert found.expires_at > AT


def test_a_token_service_that_does_not_answer_is_away() -> None:
    tokens = TokenService(region="eu-west-1", endpoint="http://127.0.0.1:1", keys=OWN)

    with pytest.raises(KeysAway, match="does not answer"):
        tokens.assume(ETL, "AthenaExecutor-x")


class _Refusing(BaseHTTPRequestHandler):
    status = 403

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = (
            b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
            b"<Message>User own is not authorized</Message></Error></ErrorResponse>"
        )
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not into the test's output."""


class _Busy(_Refusing):
    status = 503


@pytest.mark.parametrize(("answers", "kind"), [(_Refusing, KeysRefused), (_Busy, KeysAway)])
def test_a_refusal_names_the_role_and_no_key(
    answers: type[_Refusing], kind: type[Exception]
) -> None:
    with HTTPServer(("127.0.0.1", 0), answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tokens = TokenService(
            region="eu-west-1", endpoint=f"http://127.0.0.1:{server.server_port}", keys=OWN
        )

        with pytest.raises(kind) as refused:
            tokens.assume(ETL, "AthenaExecutor-x")
        server.shutdown()

    assert "AccessDenied" in str(refused.value)
    assert "not authorized" not in str(refused.value)
    if kind is KeysRefused:
        assert ETL in str(refused.value)
