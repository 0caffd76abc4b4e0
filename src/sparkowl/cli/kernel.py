"""``sparkowl kernel``: sessions as a kernel of the user's own Jupyter or VS Code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparkowl.cli.options import DataDir, fail, plain
from sparkowl.relay.options import NAME, Options, Place, pair

if TYPE_CHECKING:
    from types import ModuleType

app = typer.Typer(no_args_is_help=True, help="Sessions as a kernel of your own Jupyter.")

Name = Annotated[str, typer.Option(help="What Jupyter calls the kernelspec.")]
User = Annotated[bool, typer.Option("--user", help="In your own Jupyter folder: the default.")]
SysPrefix = Annotated[bool, typer.Option("--sys-prefix", help="In this Python environment.")]
Prefix = Annotated[Path | None, typer.Option(help="Below this folder.", show_default=False)]
EndpointUrl = Annotated[
    str | None,
    typer.Option(help="URL of the server; without it and --profile, the one on --data-dir."),
]
Property = Annotated[
    list[str] | None,
    typer.Option("--property", help="Spark property of the session, name=value; repeatable."),
]


@app.command()
def install(
    name: Name = NAME,
    display_name: Annotated[
        str | None, typer.Option(help="What the launcher shows. Default: SparkOwl (<work group>).")
    ] = None,
    work_group: Annotated[str, typer.Option(help="Workgroup of its sessions.")] = "spark",
    endpoint_url: EndpointUrl = None,
    profile: Annotated[str | None, typer.Option(help="AWS profile whose keys to use.")] = None,
    region: Annotated[str | None, typer.Option(help="Region to sign for.")] = None,
    idle_minutes: Annotated[
        int | None, typer.Option(min=1, help="A session idle for this long ends.")
    ] = None,
    max_dpus: Annotated[int, typer.Option(min=1, help="MaxConcurrentDpus of a session.")] = 20,
    properties: Property = None,
    user: User = False,
    sys_prefix: SysPrefix = False,
    prefix: Prefix = None,
    data_dir: DataDir = None,
) -> None:
    """Add a kernel to Jupyter and VS Code that runs notebooks in sessions of this server."""
    where = _prefix(user=user, sys_prefix=sys_prefix, prefix=prefix)
    place = Place(endpoint_url, profile, region, data_dir and data_dir.absolute())
    if data_dir is not None and (endpoint_url or profile):
        fail("Either --data-dir, or --endpoint-url and --profile: not both.", code=2)
    options = Options(place, name, work_group, max_dpus, idle_minutes, _pairs(properties or []))
    specs = _kernelspecs()
    try:
        folder = specs.install(options, display_name or f"SparkOwl ({work_group})", where)
    except (specs.NotOurs, ValueError, OSError) as error:
        fail(str(error))
    print(f"Installed kernel {name.lower()} in {folder}")


@app.command("list")
def list_() -> None:
    """List the kernels of SparkOwl that Jupyter finds."""
    for name, folder, contents in _kernelspecs().installed():
        print(f"{name:<20}  {plain(contents.get('display_name', '')):<30}  {folder}")


@app.command()
def remove(
    name: Name = NAME,
    user: User = False,
    sys_prefix: SysPrefix = False,
    prefix: Prefix = None,
) -> None:
    """Remove a kernel that install added. Sessions that it started are not touched."""
    where = _prefix(user=user, sys_prefix=sys_prefix, prefix=prefix)
    specs = _kernelspecs()
    try:
        folder = specs.remove(name, where)
    except (specs.NotOurs, LookupError, OSError) as error:
        fail(str(error.args[0]))
    print(f"Removed {folder}")


def _kernelspecs() -> ModuleType:
    # Jupyter's modules take a quarter of a second that no other command should wait for.
    from sparkowl.relay import kernelspec

    return kernelspec


def _prefix(*, user: bool, sys_prefix: bool, prefix: Path | None) -> str | None:
    if user + sys_prefix + (prefix is not None) > 1:
        fail("Only one of --user, --sys-prefix and --prefix.", code=2)
    return sys.prefix if sys_prefix else str(prefix.absolute()) if prefix is not None else None


def _pairs(texts: list[str]) -> dict[str, str]:
    try:
        return dict(pair(text) for text in texts)
    except ValueError as error:
        fail(f"--property: {error}.", code=2)
