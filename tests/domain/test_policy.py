"""Policies: who may do what, as IAM's user guide says."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.keys import Statement, allow, deny, policy_of, text_of, work_group

from sparkowl.domain.conditions import NO_TAGS, BadPolicy, Tags
from sparkowl.domain.policy import (
    MAX_POLICY_CHARACTERS,
    NOBODY,
    ROOT,
    Effect,
    Policy,
    Principal,
    check_name,
    parse,
)

DEV = work_group("dev")
START = "athena:StartSession"


def decide(action: str, resource: str, *statements: Statement, **tags: str) -> Effect | None:
    return policy_of(*statements).decide(action, resource, Tags(list(tags.items()), list(tags)))


# --- actions and resources ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "action", "matches"),
    [
        ("*", START, True),
        ("athena:*", START, True),
        ("athena:StartSession", START, True),
        ("ATHENA:startsession", START, True),
        ("athena:Start*", START, True),
        ("athena:*Session", START, True),
        ("athena:*art*ess*", START, True),
        ("athena:StartSessio?", START, True),
        ("athena:StartSession?", START, False),
        ("athena:Start", START, False),
        ("athena:tartSession", START, False),
        ("s3:*", START, False),
        ("athena:*Session*", "athena:ListSessions", True),
        ("athena:GetSession", "athena:GetSessionStatus", False),
    ],
)
def test_actions_match_with_wildcards_and_in_any_case(
    pattern: str, action: str, matches: bool
) -> None:
    assert (decide(action, DEV, allow(pattern)) is Effect.ALLOW) is matches


@pytest.mark.parametrize(
    ("pattern", "resource", "matches"),
    [
        ("*", DEV, True),
        ("*", "*", True),
        (DEV, DEV, True),
        (DEV, "*", False),
        (work_group("DEV"), DEV, False),
        (work_group("d?v"), DEV, True),
        (work_group("d*"), DEV, True),
        (work_group("*"), DEV, True),
        (work_group("*"), f"{DEV}/session/1", True),
        (DEV, f"{DEV}/session/1", False),
        (work_group("de"), DEV, False),
        (work_group("dev2"), DEV, False),
        ("arn:aws:athena:*:*:workgroup/dev", DEV, True),
        ("arn:*:athena:us-*-1:0*0:workgroup/dev", DEV, True),
        ("arn:aws:athena:eu-*:*:workgroup/dev", DEV, False),
        ("arn:aws:athena:*", DEV, True),
        ("arn:aws:s3:*", DEV, False),
        ("arn:aws:s3:::lake/*", "arn:aws:s3:::lake/a/b c", True),
        ("arn:aws:s3:::lake/*", "arn:aws:s3:::lake", False),
        ("arn:aws:s3:::lake/*", "arn:aws:s3:::lake2/a", False),
        ("arn:aws:s3:::lake/*/x", "arn:aws:s3:::lake/a/b/x", True),
        ("arn:aws:s3:::lake/a.c", "arn:aws:s3:::lake/abc", False),
        ("arn:aws:s3:::lake/*", "arn:aws:s3:::lake/two\nlines", True),
        # A colon in a key must not let a wildcard of another part reach it.
        ("arn:aws:s3:*:*:mine/x", "arn:aws:s3:::other/a:mine/x", False),
        ("arn:aws:s3:::a:b", "arn:aws:s3:::a:b", True),
        ("arn:aws:s3:::?", "arn:aws:s3:::ab", False),
    ],
)
def test_resources_match_part_by_part_and_by_case(
    pattern: str, resource: str, matches: bool
) -> None:
    assert (decide(START, resource, allow("*", pattern)) is Effect.ALLOW) is matches


def test_one_of_several_actions_and_resources_is_enough() -> None:
    statement = allow(["s3:GetObject", START], ["arn:aws:s3:::lake", DEV])

    assert decide(START, DEV, statement) is Effect.ALLOW
    assert decide("s3:PutObject", DEV, statement) is None
    assert decide(START, work_group("prod"), statement) is None


def test_not_action_and_not_resource_are_everything_but() -> None:
    but_start: Statement = {"Effect": "Allow", "NotAction": "athena:Start*", "Resource": "*"}
    but_dev: Statement = {"Effect": "Deny", "Action": "*", "NotResource": [DEV, f"{DEV}/*"]}

    assert decide("athena:GetSession", DEV, but_start) is Effect.ALLOW
    assert decide(START, DEV, but_start) is None
    assert decide(START, DEV, allow("*"), but_dev) is Effect.ALLOW
    assert decide(START, work_group("prod"), allow("*"), but_dev) is Effect.DENY


def test_a_pattern_of_many_stars_costs_no_more_than_the_text_is_long() -> None:
    hostile = "arn:aws:s3:::lake/" + "*a" * 200 + "*b"
    policy = policy_of(allow("*", hostile))
    began = time.perf_counter()

    assert policy.decide("s3:GetObject", "arn:aws:s3:::lake/" + "a" * 1024) is None
    assert time.perf_counter() - began < 1


# --- who wins ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statements", "effect"),
    [
        ([allow("s3:*")], None),
        ([allow(START)], Effect.ALLOW),
        ([deny(START)], Effect.DENY),
        ([allow("*"), deny(START)], Effect.DENY),
        ([deny(START), allow("*"), allow(START, DEV)], Effect.DENY),
        ([allow("*"), deny(START, work_group("prod"))], Effect.ALLOW),
    ],
)
def test_a_deny_wins_and_silence_is_no(statements: list[Statement], effect: Effect | None) -> None:
    assert decide(START, DEV, *statements) is effect
    principal = Principal("alice", policy_of(*statements))
    assert principal.allows(START, DEV) is (effect is Effect.ALLOW)


def test_of_two_names_one_must_be_allowed_and_none_denied() -> None:
    session = f"{DEV}/session/1"

    def may(*statements: Statement) -> bool:
        return Principal("alice", policy_of(*statements)).allows(START, session, DEV)

    assert may(allow("*", DEV))
    assert may(allow("*", session))
    assert not may(allow("*", work_group("prod")))
    assert not may(allow("*", session), deny("*", DEV))
    assert not may(allow("*", DEV), deny("*", session))


def test_root_may_everything_and_nobody_nothing() -> None:
    for action, resource in [(START, DEV), ("s3:DeleteBucket", "arn:aws:s3:::a"), ("x:y", "*")]:
        assert ROOT.allows(action, resource)
        assert not NOBODY.allows(action, resource)


_actions = st.sampled_from(["*", "athena:*", START, "athena:Get*", "s3:GetObject", "s3:*"])
_resources = st.sampled_from(["*", DEV, work_group("*"), work_group("d?v"), "arn:aws:s3:::lake/*"])
_conditions = st.sampled_from(
    [
        {},
        {"Condition": {"StringEquals": {"aws:RequestTag/team": "a"}}},
        {"Condition": {"StringNotEquals": {"aws:RequestTag/team": ["a", "b"]}}},
        {"Condition": {"ForAllValues:StringLike": {"aws:TagKeys": ["t*"]}}},
        {"Condition": {"Null": {"aws:TagKeys": True}}},
    ]
)
_statements = st.builds(
    lambda make, action, resource, more: make(action, resource, **more),
    st.sampled_from([allow, deny]),
    _actions,
    _resources,
    _conditions,
)
_calls = st.tuples(
    st.sampled_from([START, "athena:GetSession", "s3:GetObject"]),
    st.sampled_from([DEV, work_group("prod"), "arn:aws:s3:::lake/a", "*"]),
    st.dictionaries(st.sampled_from(["team", "TEAM", "x"]), st.sampled_from(["a", "c"])).map(
        lambda tags: Tags(list(tags.items()), list(tags))
    ),
)
_MATCHING_ALL = deny("*")


@given(st.lists(_statements, min_size=1), _calls)
def test_a_deny_that_matches_always_wins(
    statements: list[Statement], call: tuple[str, str, Tags]
) -> None:
    assert policy_of(*statements, _MATCHING_ALL).decide(*call) is Effect.DENY


@given(st.lists(_statements, min_size=1), _statements, _calls, st.randoms())
def test_one_more_deny_never_grants_and_one_more_allow_never_takes_away(
    statements: list[Statement], more: Statement, call: tuple[str, str, Tags], random: Any
) -> None:
    before = policy_of(*statements).decide(*call)
    longer = [*statements, more]
    random.shuffle(longer)
    after = policy_of(*longer).decide(*call)

    if more["Effect"] == "Deny":
        assert after is before or after is Effect.DENY
    else:
        assert after is before or (before is None and after is Effect.ALLOW)


# --- conditions --------------------------------------------------------------------------------

TEAM = "aws:RequestTag/team"


@pytest.mark.parametrize(
    ("operator", "wanted", "value", "holds"),
    [
        ("StringEquals", "a", "a", True),
        ("StringEquals", "a", "A", False),
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", "a*", "ab", False),
        ("StringEquals", "a", None, False),
        ("StringEqualsIfExists", "a", None, True),
        ("StringEqualsIfExists", "a", "b", False),
        ("StringNotEquals", "a", "b", True),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", "a", None, True),
        ("StringNotEqualsIfExists", "a", None, True),
        ("StringEqualsIgnoreCase", "Ab", "aB", True),
        ("StringEqualsIgnoreCase", "Ab", "aC", False),
        ("StringNotEqualsIgnoreCase", "Ab", "aB", False),
        ("StringLike", "a*", "ab", True),
        ("StringLike", ["x", "?b"], "ab", True),
        ("StringLike", "a*", "Ab", False),
        ("StringLike", "*", None, False),
        ("StringLikeIfExists", "a", None, True),
        ("StringNotLike", "a*", "ab", False),
        ("StringNotLike", "a*", None, True),
        ("Null", "true", None, True),
        ("Null", "true", "", False),
        ("Null", False, "a", True),
        ("Null", False, None, False),
    ],
)
def test_the_value_of_a_tag(operator: str, wanted: Any, value: str | None, holds: bool) -> None:
    tags = {} if value is None else {"team": value}
    for make, effect in ((allow, Effect.ALLOW), (deny, Effect.DENY)):
        statement = make("*", Condition={operator: {TEAM: wanted}})
        assert decide(START, DEV, statement, **tags) is (effect if holds else None)


@pytest.mark.parametrize(
    ("operator", "wanted", "keys", "holds"),
    [
        ("ForAllValues:StringEquals", ["a", "b"], ["a"], True),
        ("ForAllValues:StringEquals", ["a", "b"], ["a", "b"], True),
        ("ForAllValues:StringEquals", ["a", "b"], ["a", "c"], False),
        ("ForAllValues:StringEquals", ["a"], [], True),
        ("ForAllValues:StringLike", ["a*"], ["ab", "ac"], True),
        ("ForAllValues:StringNotEquals", ["a"], ["b", "c"], True),
        ("ForAllValues:StringNotEquals", ["a"], ["b", "a"], False),
        ("ForAnyValue:StringEquals", ["a", "b"], ["c", "a"], True),
        ("ForAnyValue:StringEquals", ["a", "b"], ["c"], False),
        ("ForAnyValue:StringEquals", ["a"], [], False),
        ("ForAnyValue:StringEqualsIfExists", ["a"], [], True),
        ("ForAnyValue:StringNotEquals", ["a"], ["a", "b"], True),
        ("ForAnyValue:StringNotEquals", ["a"], ["a"], False),
        ("ForAnyValue:StringNotEquals", ["a"], [], False),
        ("Null", "true", [], True),
        ("Null", "false", ["a"], True),
        ("Null", "false", [], False),
    ],
)
def test_the_keys_of_all_tags(operator: str, wanted: Any, keys: list[str], holds: bool) -> None:
    policy = policy_of(allow("*", Condition={operator: {"aws:TagKeys": wanted}}))

    assert (policy.decide(START, DEV, Tags((), keys)) is Effect.ALLOW) is holds


def test_all_conditions_must_hold() -> None:
    statement = allow(
        "*",
        Condition={
            "StringEquals": {TEAM: "a", "aws:RequestTag/env": "dev"},
            "ForAllValues:StringEquals": {"aws:TagKeys": ["team", "env"]},
        },
    )

    assert decide(START, DEV, statement, team="a", env="dev") is Effect.ALLOW
    assert decide(START, DEV, statement, team="a", env="prod") is None
    assert decide(START, DEV, statement, team="a", env="dev", more="x") is None


def test_a_tags_key_counts_in_any_case_and_nobody_gets_by_with_two() -> None:
    allowing = allow("*", Condition={"StringEquals": {TEAM: "a"}})
    denying = deny("*", Condition={"StringEquals": {"aws:requesttag/TEAM": "b"}})
    both = Tags([("team", "a"), ("Team", "b")], ["team", "Team"])
    twice = Tags([("team", "a"), ("team", "b")], ["team"])

    assert decide(START, DEV, allowing, TEAM="a") is Effect.ALLOW
    for tags in (both, twice):
        assert policy_of(allowing).decide(START, DEV, tags) is None
        assert policy_of(allow("*"), denying).decide(START, DEV, tags) is Effect.DENY


def test_a_call_without_tags_has_neither_key() -> None:
    statement = allow("*", Condition={"Null": {TEAM: "true", "aws:TagKeys": "true"}})

    assert policy_of(statement).decide(START, DEV, NO_TAGS) is Effect.ALLOW


# --- what is refused when a policy is stored ---------------------------------------------------


def with_statement(**members: Any) -> dict[str, Any]:
    good = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    statement = {name: value for name, value in (good | members).items() if value is not ...}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.mark.parametrize(
    ("document", "place", "rule"),
    [
        ({"Statement": []}, "Version", "must be 2012-10-17"),
        (with_statement() | {"Version": "2008-10-17"}, "Version", "must be 2012-10-17"),
        (with_statement() | {"Statements": []}, "Statements", "no such member"),
        (with_statement() | {"Statement": []}, "Statement", "not empty"),
        (with_statement() | {"Statement": "all"}, "Statement", "a list of them"),
        (with_statement() | {"Statement": ["all"]}, "Statement[0]", "must be an object"),
        (with_statement() | {"Id": 1}, "Id", "must be a string"),
        (with_statement(Effect="allow"), "Statement[0].Effect", "Allow or Deny"),
        (with_statement(Effect=...), "Statement[0].Effect", "Allow or Deny"),
        (with_statement(Sid="a b"), "Statement[0].Sid", "letters and digits"),
        (with_statement(Principal="*"), "Statement[0].Principal", "belongs to a principal"),
        (with_statement(Conditions={}), "Statement[0].Conditions", "no such member"),
        (with_statement(Action=...), "Statement[0].Action", "given once"),
        (with_statement(NotAction="*"), "Statement[0].Action", "given once"),
        (with_statement(Action=[]), "Statement[0].Action", "not empty"),
        (with_statement(Action=["*", 1]), "Statement[0].Action", "list of strings"),
        (with_statement(Action="StartSession"), "Statement[0].Action", "<service>:<action>"),
        (with_statement(Action="ath*:Get"), "Statement[0].Action", "<service>:<action>"),
        (with_statement(Action="athena: Get"), "Statement[0].Action", "<service>:<action>"),
        (with_statement(Resource=...), "Statement[0].Resource", "given once"),
        (with_statement(Resource="spark"), "Statement[0].Resource", "or an ARN"),
        (with_statement(Resource="arn:aws:s3:::"[:-1]), "Statement[0].Resource", "or an ARN"),
        (with_statement(Resource="arn:*"), "Statement[0].Resource", "or an ARN"),
        (with_statement(Resource="arn:aws:*:::a"), "Statement[0].Resource", "name a service"),
        (with_statement(Resource="arn:aws:s*"), "Statement[0].Resource", "name a service"),
        (with_statement(Resource="arn:aws:s3:::${aws:username}"), "Statement[0].Resource", "varia"),
        (with_statement(Condition={}), "Statement[0].Condition", "at least one member"),
        (with_statement(Condition=None), "Statement[0].Condition", "at least one member"),
        (
            with_statement(Condition={"StringEquals": {}}),
            "Statement[0].Condition.StringEquals",
            "at least one member",
        ),
        (
            with_statement(Condition={"NumericEquals": {TEAM: "1"}}),
            f"Statement[0].Condition.NumericEquals.{TEAM}",
            "there is no operator NumericEquals",
        ),
        (
            with_statement(Condition={"NullIfExists": {TEAM: "true"}}),
            f"Statement[0].Condition.NullIfExists.{TEAM}",
            "there is no operator",
        ),
        (
            with_statement(Condition={"ForSomeValues:StringLike": {"aws:TagKeys": "a"}}),
            "Statement[0].Condition.ForSomeValues:StringLike.aws:TagKeys",
            "there is no operator",
        ),
        (
            with_statement(Condition={"StringEquals": {"aws:SourceIp": "a"}}),
            "Statement[0].Condition.StringEquals.aws:SourceIp",
            "there is no condition key",
        ),
        (
            with_statement(Condition={"StringEquals": {"aws:RequestTag/": "a"}}),
            "Statement[0].Condition.StringEquals.aws:RequestTag/",
            "there is no condition key",
        ),
        (
            with_statement(Condition={"StringEquals": {"aws:TagKeys": "a"}}),
            "Statement[0].Condition.StringEquals.aws:TagKeys",
            "has many values",
        ),
        (
            with_statement(Condition={"ForAnyValue:StringEquals": {TEAM: "a"}}),
            f"Statement[0].Condition.ForAnyValue:StringEquals.{TEAM}",
            "a tag has one value",
        ),
        (
            with_statement(Condition={"StringEquals": {TEAM: [1]}}),
            f"Statement[0].Condition.StringEquals.{TEAM}",
            "list of strings",
        ),
        (
            with_statement(Condition={"Null": {TEAM: "yes"}}),
            f"Statement[0].Condition.Null.{TEAM}",
            "Null takes true",
        ),
        (
            with_statement(Condition={"Null": {TEAM: ["true"]}}),
            f"Statement[0].Condition.Null.{TEAM}",
            "Null takes true",
        ),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(
    document: dict[str, Any], place: str, rule: str
) -> None:
    with pytest.raises(BadPolicy) as refused:
        parse(json.dumps(document))

    assert refused.value.place == place
    assert rule in str(refused.value)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"Version":"2012-10-17","Statement":[],"Statement":[]}', "Statement is there twice"),
        (text_of(allow("*", Sid="a"), deny("*", Sid="a")), "two statements have the Sid a"),
        (text_of(allow(["athena:GetSession"] * 400)), f"at most {MAX_POLICY_CHARACTERS}"),
    ],
)
def test_what_is_no_policy_at_all_is_refused(text: str, rule: str) -> None:
    with pytest.raises(BadPolicy, match=rule):
        parse(text)


def test_white_space_does_not_count_and_one_statement_needs_no_list() -> None:
    document = {"Version": "2012-10-17", "Statement": allow(START, DEV)}
    text = json.dumps(document, indent=4000)

    assert len(text) > MAX_POLICY_CHARACTERS
    assert parse(text).decide(START, DEV) is Effect.ALLOW


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.text(max_size=8)
        | st.sampled_from(["Allow", "*", "athena:*"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "Version",
                        "Statement",
                        "Effect",
                        "Action",
                        "Resource",
                        "Condition",
                        "Null",
                        TEAM,
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
def test_anything_is_a_policy_or_refused(value: Any) -> None:
    text = json.dumps(value | {"Version": "2012-10-17"} if isinstance(value, dict) else value)
    with suppress(BadPolicy):
        assert isinstance(parse(text), Policy)


@pytest.mark.parametrize("name", ["alice", "a+b=c,d.e@f_g-h", "x" * 64, "Rooty"])
def test_names_are_those_of_iams_users(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 65, "a/b", "a\n", "root", "Root"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(BadPolicy):
        check_name(name)
