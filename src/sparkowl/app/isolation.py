"""What keeps user code from the server's files and from other sessions, on this machine."""

from __future__ import annotations

import logging
import os

from sparkowl.app.errors import StartError
from sparkowl.config import Settings
from sparkowl.launchers import engines, users
from sparkowl.launchers.base import Isolation
from sparkowl.objects.files import Files
from sparkowl.objects.sharing import share, unshare

log = logging.getLogger(__name__)


def open_ways(settings: Settings, files: Files | None, runners: users.Users | None) -> None:
    """Open to the users of drivers what is theirs, and close it again when there are none."""
    if runners is not None:
        # From here on the modes of new files count: the folder does not hide them any more.
        os.umask(0o077)
        data_dir = settings.data_dir
        passable = (settings.cache_dir, *engines.folders(data_dir))
        users.open_way(data_dir, data_dir / "drivers", passable, runners.group)
        if files is not None:
            share(files.root, runners.group)
    elif files is not None and unshare(files.root):
        settings.data_dir.chmod(0o700)


def others_allowed(settings: Settings, isolation: Isolation) -> bool:
    """Whether principals other than the first key may be let in; says so in the log.

    Something must keep the user code of their sessions from the server's files, or the operator
    must not mind. Refuses what the settings promise and this machine cannot.
    """
    if isolation.problems:
        raise StartError(
            " ".join(isolation.problems)
            + " Move it, or let others pass (chmod o+x), or name another user."
        )
    guarded = settings.guarded_roles
    if guarded and settings.objects.kind == "s3":
        raise StartError(
            f"The buckets of role {guarded[0]} cannot be enforced: which buckets a session reaches "
            "is decided by the S3 service, by the policy of the session's keys. Take `buckets` out "
            "of the role."
        )
    if guarded and not isolation.guards_paths:
        raise StartError(
            f"The buckets of role {guarded[0]} cannot be enforced: {isolation.in_force}. Without "
            "Landlock a session reaches every bucket by its path. Take `buckets` out of the role."
        )
    if guarded and settings.catalog_kind == "none" and settings.catalog.kind != "none":
        log.warning(
            "there is no shared catalogue, as role %s does not see every bucket and the metastore "
            'moves files for whoever asks (docs/operators/catalog.md); catalog.kind = "hive" has '
            "one all the same",
            guarded[0],
        )
    if guarded and settings.catalog_kind == "hive":
        log.warning(
            "the buckets of role %s are kept from its sessions, but not from the metastore, which "
            "makes, moves and deletes files for every session (docs/operators/catalog.md); "
            'catalog.kind = "none" closes that',
            guarded[0],
        )
    if isolation.missing is None:
        log.info("isolation of drivers: %s", isolation.in_force)
        return True
    log.warning(
        "nothing keeps user code from the server's files (%s); %s",
        isolation.missing,
        "every principal is let in all the same: allow_unisolated"
        if settings.allow_unisolated
        else "only the first key is let in (docs/operators/isolation.md)",
    )
    return settings.allow_unisolated
