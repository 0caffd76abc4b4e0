"""The outputs of a calculation whose driver cannot write them any more.

A calculation's three objects exist in every terminal state. The agent writes them; where it died
first, what it had written stays, what it had still in its spool is stored, and the rest is filled
in here, before the state is written.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sparkowl.domain.calculation import OUTPUT_NAMES, Calculation
from sparkowl.domain.session import Session
from sparkowl.objects.files import Files

_EMPTY: Final = {
    "stdout": b"",
    "stderr": b"",
    "result.json": json.dumps({"outputs": []}).encode(),
}


def split_uri(uri: str) -> tuple[str, str]:
    """``s3://bucket/key`` as bucket and key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def folder_of(files: Files, calculation: Calculation) -> Path:
    """Where the agent writes the outputs. Raises ObjectError when the bucket is not there."""
    return files.path(*split_uri(calculation.output_location))


async def write_timeline(files: Files, session: Session) -> None:
    """Put the start timeline where clients can read it: ``<working directory>/start.json``."""
    bucket, key = split_uri(f"{session.working_directory}/start.json")
    await asyncio.to_thread(files.put_bytes, bucket, key, json.dumps(session.timeline).encode())


async def complete(files: Files, calculation: Calculation) -> None:
    """Write those of the three objects that are missing."""
    for name in OUTPUT_NAMES:
        bucket, key = split_uri(calculation.output(name))
        if not await asyncio.to_thread(files.exists, bucket, key):
            await asyncio.to_thread(files.put_bytes, bucket, key, _EMPTY[name])


async def store(files: Files, calculation: Calculation, contents: Mapping[str, bytes]) -> None:
    """Store what is left of the outputs; what is there already in full is not touched."""
    for name, content in contents.items():
        bucket, key = split_uri(calculation.output(name))
        await asyncio.to_thread(_put_changed, files, bucket, key, content)


def _put_changed(files: Files, bucket: str, key: str, content: bytes) -> None:
    there = files.entry(bucket, key).size_bytes if files.exists(bucket, key) else None
    if there != len(content) or files.read_bytes(bucket, key) != content:
        files.put_bytes(bucket, key, content)
