"""The kernelspec: how the user's Jupyter is told of the kernel."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from sparkowl.relay.options import Options

_MODULE: Final = "sparkowl.relay"


class NotOurs(Exception):
    """A kernelspec of this name is there already, and it is somebody else's."""


def contents(options: Options, display_name: str) -> dict[str, Any]:
    """What ``kernel.json`` says. There is no secret in it: the process finds the keys itself."""
    return {
        # -P: a file of the notebook's folder must not be imported in place of a module of ours.
        "argv": [
            *(sys.executable, "-P", "-m", _MODULE, "-f", "{connection_file}"),
            *options.arguments(),
        ],
        "display_name": display_name,
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": False, "supported_encryption": ["curve"]},
    }


def install(options: Options, display_name: str, prefix: str | None = None) -> Path:
    """Write the kernelspec to the user's folder, or below ``prefix``; returns where.

    One of ours with that name is replaced. ValueError for a name that Jupyter does not take,
    :class:`NotOurs` for one that is taken, OSError when it cannot be written.
    """
    manager = KernelSpecManager()
    # Jupyter does not tell capitals apart: it would replace what is there by the same name.
    name, user = options.name.lower(), prefix is None
    with TemporaryDirectory() as folder:
        (Path(folder) / "kernel.json").write_text(
            json.dumps(contents(options, display_name), indent=1) + "\n"
        )
        there = manager._get_destination_dir(name, user=user, prefix=prefix)
        if Path(there).is_dir() and not _ours(Path(there)):
            raise NotOurs(f"Kernelspec {name} at {there} is not one of SparkOwl's.")
        return Path(manager.install_kernel_spec(folder, name, user=user, prefix=prefix))


def installed() -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """The kernelspecs of ours that Jupyter finds: name, folder, contents."""
    for name, folder in sorted(KernelSpecManager().find_kernel_specs().items()):
        if _ours(Path(folder)):
            yield name, Path(folder), json.loads((Path(folder) / "kernel.json").read_text())


def remove(name: str, prefix: str | None = None) -> Path:
    """Remove the kernelspec that Jupyter finds by this name, or the one below ``prefix``.

    LookupError when there is none, :class:`NotOurs` when it is somebody else's.
    """
    name = name.lower()
    manager = KernelSpecManager(ensure_native_kernel=False)
    if prefix is not None:
        manager.kernel_dirs = [str(Path(prefix) / "share" / "jupyter" / "kernels")]
    try:
        folder = Path(manager.get_kernel_spec(name).resource_dir)
    except NoSuchKernel:
        raise LookupError(f"There is no kernelspec {name}.") from None
    if not _ours(folder):
        raise NotOurs(f"Kernelspec {name} at {folder} is not one of SparkOwl's.")
    return Path(manager.remove_kernel_spec(name))


def _ours(folder: Path) -> bool:
    try:
        return _MODULE in json.loads((folder / "kernel.json").read_text())["argv"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
