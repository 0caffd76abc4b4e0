"""Boto3 clients of the server that runs on a data directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from sparkowl.cli.options import fail, settings
from sparkowl.relay import endpoint
from sparkowl.relay.endpoint import NoServer

#: What would win over, or break, the exported variables.
IN_THE_WAY: Final = (
    "AWS_ENDPOINT_URL_ATHENA",
    "AWS_ENDPOINT_URL_S3",
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
)


def exports(data_dir: Path | None) -> dict[str, str]:
    """The environment that points any AWS client at the server."""
    try:
        return endpoint.exports(settings(data_dir))
    except NoServer as error:
        fail(str(error))


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
