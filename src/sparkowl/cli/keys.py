"""``sparkowl keys``: who may do what. For the operator, who owns the data directory."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sparkowl.cli.clients import IN_THE_WAY
from sparkowl.cli.options import DataDir, err, fail, settings
from sparkowl.cli.owned import acting, read
from sparkowl.relay.endpoint import elsewhere, running_url

if TYPE_CHECKING:  # what costs half a second to import is imported where it is used
    from sparkowl.access.register import NewKey
    from sparkowl.config import Settings
    from sparkowl.domain.policy import Policy

app = typer.Typer(no_args_is_help=True, help="Make, list, disable and replace access keys.")

_LINE: Final = "{:<20}  {:<24}  {:<9}  {:<16}  {}"
PolicyFile = Annotated[
    str | None, typer.Option("--policy", help="File with an IAM policy in JSON; - reads stdin.")
]
ForWorkGroup = Annotated[
    str | None,
    typer.Option("--workgroup", help="The ready-made policy of a user of this workgroup."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsExports = Annotated[
    bool, typer.Option("--export", help="Print export lines, for eval in a shell.")
]


@app.command()
def create(
    principal: Annotated[str, typer.Argument(help="Whose key it is.")],
    policy: PolicyFile = None,
    workgroup: ForWorkGroup = None,
    as_json: AsJson = False,
    export: AsExports = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key. A new principal needs a policy; one that is there may get one more key.

    The secret is shown now and never again.
    """
    chosen = settings(data_dir)
    text = _policy(chosen, policy, workgroup)
    made = acting(chosen, lambda register: register.create(principal, text))
    _show(chosen, made, as_json=as_json, export=export)


@app.command("list")
def list_(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List all keys; the first one is root's and may do everything."""
    from sparkowl.clock import System

    keys = acting(settings(data_dir), lambda register: register.list())
    now = System().now()
    if as_json:
        found = [
            {
                "AccessKeyId": key.id,
                "Principal": key.principal,
                "State": _state(key, now),
                "CreatedAt": key.created_at.isoformat(),
                "ExpiresAt": key.expires_at and key.expires_at.isoformat(),
            }
            for key in keys
        ]
        print(json.dumps(found, indent=2))
        return
    print(_LINE.format("KEY", "PRINCIPAL", "STATE", "CREATED", "EXPIRES"))
    for key in keys:
        line = _LINE.format(
            key.id, key.principal, _state(key, now), _time(key.created_at), _time(key.expires_at)
        )
        print(line.rstrip())


@app.command()
def disable(key_id: str, data_dir: DataDir = None) -> None:
    """Stop a key: it opens no door any more, within a second also where a server runs."""
    from sparkowl.domain.access_key import Event

    key = acting(settings(data_dir), lambda register: register.change(key_id, Event.DISABLE))
    print(key.id, key.state)


@app.command()
def enable(key_id: str, data_dir: DataDir = None) -> None:
    """Let a disabled key work again."""
    from sparkowl.domain.access_key import Event

    key = acting(settings(data_dir), lambda register: register.change(key_id, Event.ENABLE))
    print(key.id, key.state)


@app.command()
def rotate(
    key_id: str,
    keep_old: Annotated[
        float, typer.Option(help="Hours that the old key works on beside the new one.")
    ] = 0.0,
    as_json: AsJson = False,
    export: AsExports = False,
    data_dir: DataDir = None,
) -> None:
    """Replace a key by a new one of the same principal; the first key, too."""
    chosen = settings(data_dir)
    keep = timedelta(hours=keep_old)
    made = acting(chosen, lambda register: register.rotate(key_id, keep))
    _show(chosen, made, as_json=as_json, export=export)


@app.command("policy")
def policy_(
    principal: str,
    policy: Annotated[
        str | None, typer.Option("--set", help="File with the new policy; - reads stdin.")
    ] = None,
    workgroup: ForWorkGroup = None,
    data_dir: DataDir = None,
) -> None:
    """Show a principal's policy, or replace it."""
    chosen = settings(data_dir)
    text = _policy(chosen, policy, workgroup)
    if text is not None:
        acting(chosen, lambda register: register.set_policy(principal, text))
    found = acting(chosen, lambda register: register.policy(principal))
    print(json.dumps(json.loads(found), indent=2))


# --- policies ----------------------------------------------------------------------------------


def _policy(chosen: Settings, file: str | None, workgroup: str | None) -> str | None:
    """The policy that was asked for; None when none was."""
    if file is not None and workgroup is not None:
        fail("Give a policy or a workgroup, not both.", code=2)
    if workgroup is not None:
        return _ready_made(chosen, workgroup)
    if file is None:
        return None
    text = _content(file)
    from sparkowl.domain.conditions import BadPolicy
    from sparkowl.domain.policy import parse

    try:
        found = parse(text)
    except BadPolicy as error:
        name = "The policy on standard input" if file == "-" else file
        fail(f"{name}: {error}")
    for note in _never_asked(found):
        err.print(note, markup=False, style="yellow")
    return text


def _content(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8-sig")
    except OSError as error:
        fail(f"{file}: {error.strerror}", code=2)
    except UnicodeDecodeError as error:
        fail(f"{file} is not UTF-8 text: {error}", code=2)


def _never_asked(policy: Policy) -> list[str]:
    """Notes on actions that no call needs here: a slip of the pen, or another service's."""
    from sparkowl.domain.policy import action_pattern
    from sparkowl.protocol import model
    from sparkowl.s3.access import ACTIONS

    asked = {f"athena:{name}" for name in model.operations()} | ACTIONS | {"iam:PassRole"}
    return [
        f"Note: this server never asks for {text} (Statement[{number}])."
        for number, statement in enumerate(policy.statements)
        for text in statement.actions.texts
        if not any(map(action_pattern(text).fullmatch, asked))
    ]


def _ready_made(chosen: Settings, name: str) -> str:
    from sparkowl.access.ready import work_group_user
    from sparkowl.domain.arns import Account
    from sparkowl.store import workgroups

    found = read(chosen, lambda tx: workgroups.find(tx, name))
    if found is None:
        fail(f"There is no workgroup {name} on {chosen.data_dir}.")
    location = found.output_location
    if location is None:
        location = chosen.output_location
        err.print(
            f"Note: {name} names no output location, so its outputs are in {location} with those "
            "of other workgroups, and can be read with this key.",
            markup=False,
            style="yellow",
        )
    if set(location) & set("*?") or "${" in location:
        # Whoever may change the workgroup chose it; in a policy it would stand for other places.
        fail(
            f"The output location of {name}, {location}, has wildcards of policies in it: "
            "give a policy of your own."
        )
    arn = Account(chosen.account, chosen.region).work_group(name)
    return json.dumps(work_group_user(arn, location))


# --- what is printed ---------------------------------------------------------------------------


def _show(chosen: Settings, made: NewKey, *, as_json: bool, export: bool) -> None:
    if as_json:
        found = {
            "Principal": made.principal,
            "AccessKeyId": made.id,
            "SecretAccessKey": made.secret,
        }
        print(json.dumps(found, indent=2))
    elif export:
        _export(chosen, made)
    else:
        print(f"Principal          {made.principal}")
        print(f"Access key id      {made.id}")
        print(f"Secret access key  {made.secret}")
        err.print("Keep the secret: it is not shown again.", markup=False)


def _export(chosen: Settings, made: NewKey) -> None:
    print(f"unset {' '.join(IN_THE_WAY)}")
    url = running_url(chosen.data_dir)
    values = {
        **({} if url is None else {"AWS_ENDPOINT_URL": url, **elsewhere(chosen)}),
        "AWS_ACCESS_KEY_ID": made.id,
        "AWS_SECRET_ACCESS_KEY": made.secret,
        "AWS_DEFAULT_REGION": chosen.region,
    }
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")


def _state(key: Any, now: datetime) -> str:
    return "EXPIRED" if key.expired(now) else str(key.state)


def _time(value: datetime | None) -> str:
    return "" if value is None else f"{value.astimezone():%Y-%m-%d %H:%M}"
