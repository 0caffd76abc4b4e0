"""The keys that a session is given are those that open for it."""

from __future__ import annotations

from tests.builders import make_session

from sparkowl.domain import session_key
from sparkowl.supervisor.session_keys import DerivedKeys


async def test_a_session_is_given_the_key_that_leads_back_to_it() -> None:
    session = make_session()

    given = await DerivedKeys(b"k" * 32).of(session)

    assert set(given) == {"aws_access_key_id", "aws_secret_access_key"}
    assert session_key.session_of(given["aws_access_key_id"]) == session.id
    assert given["aws_secret_access_key"] == session_key.secret(b"k" * 32, session.id)
    assert given == await DerivedKeys(b"k" * 32).of(session)
