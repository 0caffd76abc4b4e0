"""Boto3 clients of the server that runs on a data directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from sparkowl import credentials
from sparkowl.cli.options import fail, settings
from sparkowl.config import ADDRESS_FILE

#: What would win over, or break, the exported variables.
IN_THE_WAY: Final = (
    "AWS_ENDPOINT_URL_ATHENA",
    "AWS_ENDPOINT_URL_S3",
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
)


def running_url(data_dir: Path) -> str | None:
    """Where the server of a data directory listens; None when none runs."""
    try:
        address = json.loads((data_dir / ADDRESS_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    # A server that was killed could not take its file away.
    return str(address["url"]) if Path(f"/proc/{address['pid']}").exists() else None


def exports(data_dir: Path | None) -> dict[str, str]:
    """The environment that points any AWS client at the server."""
    chosen = settings(data_dir)
    keys = credentials.load(chosen.data_dir)
    url = running_url(chosen.data_dir)
    if keys is None or url is None:
        fail(f"No server runs on {chosen.data_dir}. Start one with: sparkowl serve")
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_DEFAULT_REGION": chosen.region,
    }


def client(service: str, data_dir: Path | None) -> Any:
    """A client of the server on ``data_dir``; without one, of what the environment names."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 3})
    if data_dir is None and os.environ.get("AWS_ENDPOINT_URL"):
        return boto3.client(service, config=config)
    values = exports(data_dir)
    return boto3.client(
        service,
        endpoint_url=values["AWS_ENDPOINT_URL"],
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
        region_name=values["AWS_DEFAULT_REGION"],
        config=config,
    )
