"""Object storage as the settings have it: where it is, who may go there, what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from pydantic import SecretStr

from sparkowl.agent.messages import Run
from sparkowl.clock import Clock
from sparkowl.config import Settings
from sparkowl.config.objects import ObjectsSection
from sparkowl.domain import locations
from sparkowl.domain.encryption import Encrypting, Encryption
from sparkowl.domain.service import Keys, Service
from sparkowl.domain.service_keys import KeySources
from sparkowl.objects.errors import ObjectError
from sparkowl.objects.files import Files
from sparkowl.objects.folder_storage import FolderStorage
from sparkowl.objects.storage import Storage
from sparkowl.supervisor.means import SessionKeys
from sparkowl.supervisor.session_keys import DerivedKeys
from sparkowl.supervisor.unsent import Bounds, Unsent

#: In the data directory: outputs that an S3 service has not taken yet.
UNSENT: Final = "unsent"


def service(settings: Settings) -> Service | None:
    """The S3 service that objects are in; None: they are in folders."""
    asked = settings.objects
    if asked.kind == "folders":
        return None
    return Service(
        region=asked.region or settings.region,
        endpoint=None if asked.endpoint is None else asked.endpoint.rstrip("/"),
        path_style=asked.path_style,
        keys=_keys(asked.access_key_id, asked.secret_access_key),
    )


def encrypting(settings: Settings) -> Encrypting:
    """What becomes of workgroups whose results are to be encrypted."""
    objects = settings.objects
    return Encrypting(service=objects.kind == "s3", disk=objects.encrypted_disk)


def storage(service: Service | None, files: Files | None) -> Storage:
    if service is None:
        assert files is not None
        return FolderStorage(files)
    # Imported here: obstore and boto3 are not for those who have folders.
    from sparkowl.objects.s3_storage import S3Storage

    return S3Storage(service)


def unsent(settings: Settings, storage: Storage, clock: Clock) -> Unsent | None:
    objects = settings.objects
    if objects.kind == "folders":
        return None
    bounds = Bounds(
        age=timedelta(days=objects.unsent_days), size_bytes=objects.unsent_mb * 1024 * 1024
    )
    return Unsent(settings.data_dir / UNSENT, storage, clock, bounds)


def key_sources(settings: Settings) -> KeySources | None:
    """Whence sessions have keys; None: not from the settings."""
    objects = settings.objects
    if objects.kind == "folders":
        return None
    return KeySources(
        roles=frozenset(arn for arn, one in settings.roles.items() if one.access_key_id),
        unmapped=settings.unmapped_role.access_key_id is not None,
        assumes=objects.assume_roles,
        default=objects.session_access_key_id is not None,
    )


def session_keys(settings: Settings, clock: Clock, key: bytes) -> SessionKeys:
    """What sessions sign with; ``key`` is what their keys are derived from where the server itself
    keeps the objects."""
    asked, chosen = settings.objects, service(settings)
    if chosen is None:
        return DerivedKeys(key)
    # Imported here: boto3 is not for those who have folders.
    from sparkowl.supervisor.service_keys import ServiceKeys, TokenService

    tokens = TokenService(region=chosen.region, endpoint=asked.sts_endpoint, keys=chosen.keys)
    by_role = {
        arn: keys
        for arn, one in settings.roles.items()
        if (keys := _keys(one.access_key_id, one.secret_access_key)) is not None
    }
    own = settings.unmapped_role
    return ServiceKeys(
        clock,
        by_role=by_role,
        unmapped=_keys(own.access_key_id, own.secret_access_key),
        assume=tokens.assume if asked.assume_roles else None,
        default=session_default(asked),
    )


def session_default(asked: ObjectsSection) -> Keys | None:
    """The keys of sessions that have no others."""
    return _keys(asked.session_access_key_id, asked.session_secret_access_key)


def _keys(key_id: str | None, secret: SecretStr | None) -> Keys | None:
    if key_id is None or secret is None:
        return None
    return Keys(key_id, secret.get_secret_value())


async def upload(storage: Storage, run: Run, contents: Mapping[str, bytes]) -> str:
    """What a make-believe driver's outputs become: nothing of them is kept from the server."""
    encryption = None
    if run.encryption:
        encryption = Encryption(run.encryption["option"], run.encryption.get("kms_key"))
    try:
        for name, content in contents.items():
            await storage.put(locations.parse(f"{run.output_uri}/{name}"), content, encryption)
    except ObjectError as error:
        return f"The calculation's output could not be stored: {error}"
    return ""
