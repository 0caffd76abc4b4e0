"""The catalogue as the settings have it: what its keeper is told, and what drivers are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import unquote, urlsplit

from sparkowl.agent.messages import Confinement
from sparkowl.app import objects
from sparkowl.app.errors import StartError
from sparkowl.config import CATALOG_FOLDER, Settings
from sparkowl.launchers import s3a
from sparkowl.launchers.catalog import Catalog
from sparkowl.launchers.jars import Jars, JarsMissing, own_spark
from sparkowl.launchers.users import Users
from sparkowl.metastore.spec import Database, KeeperSpec

_UMASK: Final = 0o077
#: Where drivers run as users, what one makes in a bucket is for the group of all.
_SHARED_UMASK: Final = 0o007


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What drivers are told, and who looks after the service that this names, if that is ours."""

    properties: dict[str, str] = field(default_factory=dict)
    jars: tuple[str, ...] = ()
    service: Catalog | None = None

    async def watch(self) -> None:
        """Until cancelled, unless there is nothing to look after."""
        if self.service is not None:
            await self.service.watch()

    async def close(self, *, keep: bool) -> None:
        """End the service, or leave it to the sessions that stay."""
        if self.service is not None:
            await self.service.close(keep=keep)


@contextmanager
def opened(settings: Settings, runners: Users | None) -> Iterator[Chosen]:
    """The catalogue of a server, which listens from here on; let go at the end of the block."""
    chosen = _chosen(settings, runners)
    try:
        yield chosen
    finally:
        if chosen.service is not None:
            chosen.service.let_go()


def _chosen(settings: Settings, runners: Users | None) -> Chosen:
    asked = settings.catalog
    if settings.launcher == "fake":
        return Chosen()
    match settings.catalog_kind:
        case "hive":
            service = Catalog(keeper_spec(settings, runners))
            try:
                service.open()
            except OSError as error:
                raise StartError(f"The catalogue cannot be had: {error}.") from error
            return Chosen(properties=_hive(service.uri), service=service)
        case "external":
            assert asked.uri is not None
            return Chosen(properties=_hive(asked.uri))
        case "glue":
            assert asked.jar is not None
            if not asked.jar.is_file():
                raise StartError(f"catalog.jar: there is no file {asked.jar}.")
            return Chosen(properties=_glue(asked.uri), jars=(str(asked.jar.absolute()),))
        case "iceberg-rest":
            assert asked.uri is not None
            return Chosen(properties=_iceberg_rest(asked.name, asked.uri))
        case _:
            return Chosen()


def _hive(uri: str) -> dict[str, str]:
    """What a driver is told that uses a Hive metastore; it asks nothing before a block does."""
    return {
        "spark.sql.catalogImplementation": "hive",
        "spark.hadoop.hive.metastore.uris": uri,
    }


def _glue(endpoint: str | None) -> dict[str, str]:
    """The same for AWS Glue, through the client factory of the operator's jar."""
    factory = "com.amazonaws.glue.catalog.metastore.AWSGlueDataCatalogHiveClientFactory"
    made = {
        "spark.sql.catalogImplementation": "hive",
        "spark.hadoop.hive.metastore.client.factory.class": factory,
        # Hive would take its own client where the factory is not asked for by this name.
        "spark.hadoop.hive.imetastoreclient.factory.class": factory,
    }
    return made if endpoint is None else made | {"spark.hadoop.aws.glue.endpoint": endpoint}


def _iceberg_rest(name: str, uri: str) -> dict[str, str]:
    """The same for a REST catalogue of Iceberg's, which is the sessions' default then."""
    own = f"spark.sql.catalog.{name}"
    return {
        own: "org.apache.iceberg.spark.SparkCatalog",
        f"{own}.type": "rest",
        f"{own}.uri": uri,
        "spark.sql.defaultCatalog": name,
        "spark.sql.extensions": (
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
        ),
    }


def keeper_spec(settings: Settings, runners: Users | None) -> KeeperSpec:
    driver, data_dir = settings.driver, settings.data_dir
    folder, buckets = data_dir / CATALOG_FOLDER, data_dir / "buckets"
    hidden = [data_dir, *(f.absolute() for f in (settings.config, settings.audit.file) if f)]
    database, database_jars = _database(settings)
    service, service_jars = _service(settings)
    users = {os.getuid(), *(user.uid for user in (runners.by_name.values() if runners else ()))}
    return KeeperSpec(
        folder=str(folder),
        cache_dir=str(settings.cache_dir),
        java_home=driver.java_home,
        heap=settings.catalog.heap,
        uids=tuple(sorted(users)),
        buckets_dir=None if service else str(buckets),
        warehouse=f"{settings.output_location.rstrip('/')}/warehouse",
        database=database,
        properties=service,
        class_path=(*service_jars, *database_jars),
        confinement=Confinement(
            hidden=tuple(map(str, hidden)),
            readable=(str(settings.cache_dir), *service_jars, *database_jars),
            # User code names the paths that it makes and deletes: no more than sessions may.
            writable=(
                str(folder / "metastore"),
                *(() if service else (str(buckets),)),
                *driver.writable,
            ),
        )
        if driver.isolation == "auto"
        else None,
        run_as=runners.by_name[driver.user] if runners and driver.user else None,
        umask=_UMASK if runners is None else _SHARED_UMASK,
        away_idle_s=driver.away_idle_s,
        away_busy_s=driver.away_busy_s,
    )


def _database(settings: Settings) -> tuple[Database | None, tuple[str, ...]]:
    """The PostgreSQL database, and the jars with its driver."""
    if settings.catalog.database is None:
        return None, ()
    url = urlsplit(settings.catalog.database.get_secret_value())
    query = f"?{url.query}" if url.query else ""
    database = Database(
        url=f"jdbc:postgresql://{url.netloc.rpartition('@')[2]}{url.path}{query}",
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
    )
    return database, _jars(settings, "postgresql", "catalog.database")


def _jars(settings: Settings, name: str, setting: str) -> tuple[str, ...]:
    """Those that the metastore runs with, on the Spark of the server's own environment."""
    jars = Jars(cache_dir=settings.cache_dir, folder=settings.jars.folder)
    try:
        return tuple(map(str, jars.of(name)))
    except JarsMissing as error:
        raise StartError(f"{setting} needs {error}.") from error


def _service(settings: Settings) -> tuple[dict[str, str], tuple[str, ...]]:
    """How the metastore reaches an S3 service: by the keys of sessions in general."""
    found, keys = objects.service(settings), objects.session_default(settings.objects)
    if found is None:
        return {}, ()
    if keys is None:
        raise StartError(
            "The metastore needs objects.session_access_key_id and its secret: it makes and "
            "deletes what user code names, and never with the server's own keys. Or set "
            "catalog.kind."
        )
    spark = s3a.spark_properties(replace(found, keys=None), own_spark())
    properties = {
        key.removeprefix("spark.hadoop."): value
        for key, value in spark.items()
        if key.startswith("spark.hadoop.")
    }
    properties |= {
        "fs.s3a.aws.credentials.provider": s3a.GIVEN_KEYS,
        "fs.s3a.access.key": keys.access_key_id,
        "fs.s3a.secret.key": keys.secret_access_key,
    }
    return properties, _jars(settings, s3a.NAME, "objects.kind")
