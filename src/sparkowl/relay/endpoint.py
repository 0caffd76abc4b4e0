"""Where the server is, and a boto3 client of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config

from sparkowl import credentials
from sparkowl.config import ADDRESS_FILE, Settings
from sparkowl.relay.options import Place

#: The region of a server whose operator chose none.
_REGION: Final = "us-east-1"
#: What the names of AWS's own endpoints end with.
_AMAZONS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_CONFIG: Final = {
    "retries": {"mode": "standard", "total_max_attempts": 3},
    # The process may have few seconds left to end its session in.
    "connect_timeout": 5,
    "read_timeout": 30,
}


class NoServer(Exception):
    """There is no server to call. The text says where one was looked for."""


def running_url(data_dir: Path) -> str | None:
    """Where the server of a data directory listens; None when none runs."""
    try:
        address = json.loads((data_dir / ADDRESS_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    # A server that was killed could not take its file away.
    return str(address["url"]) if Path(f"/proc/{address['pid']}").exists() else None


def exports(settings: Settings) -> dict[str, str]:
    """The environment that points any AWS client at the server of these settings."""
    keys = credentials.load(settings.data_dir)
    url = running_url(settings.data_dir)
    if keys is None or url is None:
        raise NoServer(f"No server runs on {settings.data_dir}. Start one with: sparkowl serve")
    return {
        "AWS_ENDPOINT_URL": url,
        **elsewhere(settings),
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_DEFAULT_REGION": settings.region,
    }


def elsewhere(settings: Settings) -> dict[str, str]:
    """Where objects are, unless this server keeps them: else S3's clients would come here, too."""
    objects = settings.objects
    if objects.kind == "folders":
        return {}
    region = objects.region or settings.region
    return {"AWS_ENDPOINT_URL_S3": objects.endpoint or f"https://s3.{region}.amazonaws.com"}


def athena(place: Place) -> Any:
    """A client of the server's API; :class:`NoServer` when none is to be found.

    Botocore's own errors, such as of a profile that does not exist, are the caller's to tell.
    """
    named = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ATHENA"))
    by_aws = place.endpoint_url or place.profile or (named and place.data_dir is None)
    return _as_aws_has_it(place) if by_aws else _on_a_data_directory(place)


def authorities(place: Place) -> str | None:
    """The file of those whose certificates any AWS client takes here: ``AWS_CA_BUNDLE``, or a
    profile's ``ca_bundle``."""
    named = botocore.session.Session(profile=place.profile).get_config_variable("ca_bundle")
    return str(named) if named else None


def _as_aws_has_it(place: Place) -> Any:
    found = boto3.Session(profile_name=place.profile, region_name=place.region)
    try:
        client = found.client(
            "athena",
            endpoint_url=place.endpoint_url,
            region_name=found.region_name or _REGION,
            config=Config(**_CONFIG),
        )
    except ValueError as error:
        raise NoServer(f"The server cannot be called: {error}") from error
    # Whoever forgot the URL must not be billed for sessions on AWS.
    if (urlsplit(client.meta.endpoint_url).hostname or "").endswith(_AMAZONS):
        raise NoServer(
            f"Profile {place.profile} names no endpoint_url; give the server's with --endpoint-url."
        )
    return client


def _on_a_data_directory(place: Place) -> Any:
    try:
        settings = Settings() if place.data_dir is None else Settings(data_dir=place.data_dir)
    except ValueError as error:
        raise NoServer(f"The settings cannot be read: {error}") from error
    try:
        values = exports(settings)
    except (credentials.BadCredentials, OSError) as error:
        raise NoServer(str(error)) from error
    return boto3.client(
        "athena",
        endpoint_url=values["AWS_ENDPOINT_URL"],
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
        region_name=values["AWS_DEFAULT_REGION"],
        config=Config(**_CONFIG),
    )
