"""What one operation may use. There is no launcher here: operations write rows and wake others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sparkowl.clock import Clock
from sparkowl.domain.arns import Account
from sparkowl.domain.budget import Budget
from sparkowl.domain.encryption import Encrypting
from sparkowl.domain.ids import ServerId, SessionId
from sparkowl.domain.limits import Limits
from sparkowl.domain.policy import NOBODY, Principal
from sparkowl.domain.role import Roles
from sparkowl.domain.service_keys import KeySources
from sparkowl.domain.sparks import Sparks
from sparkowl.objects.storage import Storage
from sparkowl.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookTerms:
    """How notebooks are reached and kept."""

    #: What the links to notebooks are signed with.
    key: bytes
    #: What the links begin with, as ``http://127.0.0.1:8765``; ``{session}`` stands for the id.
    url: str
    #: How long a link opens its notebook.
    link: timedelta = timedelta(minutes=10)
    #: How many saves of a notebook are kept.
    versions: int = 200
    #: How long before the idle stop the page warns.
    warn: timedelta = timedelta(minutes=2)
    #: Whether sessions may begin with a file from the web.
    downloads: bool = True

    def url_of(self, session_id: str) -> str:
        """Where browsers reach a session: an origin, without a path."""
        return self.url.replace("{session}", session_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    store: Store
    clock: Clock
    #: This server, which looks after the sessions that are started here.
    server: ServerId
    account: Account
    limits: Limits
    #: Which Spark, in which environment, each engine's name stands for.
    sparks: Sparks
    #: ``s3://bucket/prefix`` for workgroups that name none.
    output_location: str
    #: Signs the tokens of paged lists.
    paging_key: bytes
    #: Tells the supervisor that a session's row has changed. A word, not a wait.
    wake: Callable[[SessionId], None]
    #: What the host lacks for another driver beside so many that are starting; None: nothing.
    room: Callable[[int], str | None]
    #: Reads the notebooks that requests name by s3:// URIs.
    storage: Storage
    notebooks: NotebookTerms
    #: Engines on which the operator allows calculations although AWS does not.
    calculations_on: frozenset[str] = frozenset()
    #: By workgroup; most have none.
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    #: Who calls; replaced for each call. What is forgotten to be replaced may do nothing.
    caller: Principal = NOBODY
    #: What execution roles map to.
    roles: Roles = field(default_factory=Roles)
    #: Workgroups that have packages of their own, which come before a driver.
    with_packages: Collection[str] = ()
    #: Whence sessions have keys for an S3 service; None: they need none.
    key_sources: KeySources | None = None
    #: What object storage can do about encryption.
    encrypting: Encrypting = field(default_factory=Encrypting)
