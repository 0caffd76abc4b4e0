"""``sparkowl backup`` and ``sparkowl restore``: all that a data directory holds, as one file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from sparkowl.cli.options import DataDir, err, fail, settings
from sparkowl.cli.owned import read, refuse_others
from sparkowl.cli.written import written

#: Notes of a backup that are shown; the rest is counted.
_NOTES_SHOWN = 20


def backup(
    file: Annotated[
        Path,
        typer.Argument(help="Archive to write; compressed when its name ends in .gz. - is stdout."),
    ],
    objects: Annotated[
        bool, typer.Option("--objects/--without-objects", help="With the buckets' objects.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Save the database, the keys, the settings and the objects, while the server runs or not.

    The archive holds the server's secrets: keep it where nobody else reads it.
    """
    from sparkowl.app.backup import write

    chosen = settings(data_dir)
    refuse_others(chosen)
    with written(file, force=force) as target:
        saved = write(
            chosen,
            target,
            lambda work: read(chosen, work),
            compressed=file.suffix in (".gz", ".tgz"),
            with_objects=objects,
        )
    for note in saved.notes[:_NOTES_SHOWN]:
        err.print(f"Note: {note}", markup=False, style="yellow")
    if saved.notes[_NOTES_SHOWN:]:
        err.print(f"Note: and {len(saved.notes) - _NOTES_SHOWN} more.", style="yellow")
    err.print(
        f"Saved the database, the keys and {saved.objects} objects "
        f"({saved.object_bytes / 1024**2:.1f} MiB). The archive holds the server's secrets.",
        markup=False,
    )


def restore(
    file: Annotated[Path, typer.Argument(help="Archive that sparkowl backup wrote. - is stdin.")],
    data_dir: DataDir = None,
) -> None:
    """Put a backup into an empty data directory. All of it is put there, or nothing.

    With [store] url in the settings, the rows go into that database, which must be empty.
    """
    from sparkowl.app.restore import RestoreError
    from sparkowl.app.restore import restore as put_back

    chosen = settings(data_dir)
    try:
        if str(file) == "-":
            restored = put_back(sys.stdin.buffer, chosen.data_dir, chosen.database)
        else:
            with file.open("rb") as source:
                restored = put_back(source, chosen.data_dir, chosen.database)
    except RestoreError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}.")
    err.print(
        f"Restored the backup of {restored.about['created_at']} into {chosen.data_dir}.",
        markup=False,
    )
    if restored.kept_settings:
        err.print("The settings that were there have been left; the backup's were not put there.")
    if not restored.about.get("objects"):
        err.print("The backup was made without objects.")
    for engine in restored.engines:
        how = ("--python", engine["source"]) if engine["source"] else (
            "--pyspark", engine["spark_version"]
        )  # fmt: skip
        again = shlex.join(["sparkowl", "engines", "add", engine["name"], *how])
        err.print(f"Register the engine again: {again}", markup=False)
