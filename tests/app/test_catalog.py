"""What the settings of the catalogue mean to its keeper and to drivers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sparkowl.app import catalog
from sparkowl.app.errors import StartError
from sparkowl.config import Settings


def settings_for(folder: Path, **changes: Any) -> Settings:
    made: dict[str, Any] = {"data_dir": folder / "data", "cache_dir": folder / "cache"}
    return Settings(**(made | changes))


def properties(folder: Path, **catalog_settings: Any) -> dict[str, str]:
    with catalog.opened(settings_for(folder, catalog=catalog_settings), None) as chosen:
        return chosen.properties


def test_sessions_are_told_the_same_port_by_every_server(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()

    first, second = properties(tmp_path), properties(tmp_path)

    assert first == second
    assert first["spark.sql.catalogImplementation"] == "hive"
    assert first["spark.hadoop.hive.metastore.uris"].startswith("thrift://127.0.0.1:")


def test_each_kind_of_catalogue_has_its_properties(tmp_path: Path) -> None:
    jar = tmp_path / "glue.jar"
    jar.touch()

    assert properties(tmp_path, kind="none") == {}
    assert properties(tmp_path, kind="external", uri="thrift://meta:9083") == {
        "spark.sql.catalogImplementation": "hive",
        "spark.hadoop.hive.metastore.uris": "thrift://meta:9083",
    }
    glue = properties(tmp_path, kind="glue", jar=str(jar), uri="http://glue:4566")
    assert glue["spark.hadoop.hive.metastore.client.factory.class"].endswith(
        "AWSGlueDataCatalogHiveClientFactory"
    )
    assert glue["spark.hadoop.aws.glue.endpoint"] == "http://glue:4566"
    rest = properties(tmp_path, kind="iceberg-rest", uri="http://rest:8181", name="lake")
    assert rest["spark.sql.catalog.lake.uri"] == "http://rest:8181"
    assert rest["spark.sql.defaultCatalog"] == "lake"


def test_the_jar_of_glue_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"catalog\.jar: there is no file .*missing\.jar"):
        properties(tmp_path, kind="glue", jar=str(tmp_path / "missing.jar"))


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"kind": "external"}, "needs uri"),
        ({"kind": "external", "uri": "http://meta:9083"}, "must be thrift://host:port"),
        ({"kind": "iceberg-rest", "uri": "thrift://x:1"}, "must be an http:// or https:// URL"),
        ({"kind": "hive", "uri": "thrift://x:1"}, "has no meaning"),
        ({"kind": "iceberg-rest", "uri": "http://x", "name": "a.b"}, "name"),
        ({"database": "mysql://u:secret@h/d"}, "must be the URL of a PostgreSQL database"),
        ({"kind": "none", "database": "postgresql://u:secret@h/d"}, "only for kind"),
    ],
)
def test_settings_that_make_no_sense_are_refused(section: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings(catalog=section)


def test_a_database_on_postgresql_needs_its_driver(tmp_path: Path) -> None:
    url = "postgresql://hive:p%40ss@db:5433/tables?ssl=true"
    settings = settings_for(tmp_path, catalog={"database": url})
    with pytest.raises(StartError, match="sparkowl jars fetch postgresql"):
        catalog.keeper_spec(settings, None)
    jar = tmp_path / "own" / "postgresql" / "postgresql.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    settings = settings_for(tmp_path, catalog={"database": url}, jars={"folder": tmp_path / "own"})

    spec = catalog.keeper_spec(settings, None)

    assert spec.class_path == (str(jar),)
    assert spec.database is not None
    assert spec.database.url == "jdbc:postgresql://db:5433/tables?ssl=true"
    assert (spec.database.user, spec.database.password) == ("hive", "p@ss")
    # What is logged of it holds no secret.
    assert "p@ss" not in repr(spec)


def test_the_operators_own_jars_win_over_those_that_were_fetched(tmp_path: Path) -> None:
    for place in (tmp_path / "own", tmp_path / "cache" / "jars" / "4.1.4"):
        (place / "postgresql").mkdir(parents=True)
        (place / "postgresql" / "driver.jar").touch()
    settings = settings_for(
        tmp_path,
        catalog={"database": "postgresql://u:p@h/d"},
        jars={"folder": str(tmp_path / "own")},
    )

    spec = catalog.keeper_spec(settings, None)

    assert spec.class_path == (str(tmp_path / "own" / "postgresql" / "driver.jar"),)


def test_a_spec_survives_its_way_to_the_keeper(tmp_path: Path) -> None:
    spec = catalog.keeper_spec(settings_for(tmp_path), None)

    assert type(spec).from_json(spec.to_json()) == spec
    assert type(spec).from_json(spec.to_json()).digest == spec.digest
    assert json.loads(spec.to_json())["confinement"]["hidden"][0] == str(tmp_path / "data")


def test_a_role_that_sees_some_buckets_has_no_shared_catalogue_unless_it_is_asked_for(
    tmp_path: Path,
) -> None:
    """The metastore moves files in every bucket for whoever asks."""
    roles = {"arn:aws:iam::000000000000:role/a": {"buckets": ("lake",)}}

    assert settings_for(tmp_path, roles=roles).catalog_kind == "none"
    assert settings_for(tmp_path, roles=roles, catalog={"kind": "hive"}).catalog_kind == "hive"
    assert settings_for(tmp_path).catalog_kind == "hive"
    with catalog.opened(settings_for(tmp_path, roles=roles), None) as chosen:
        assert (chosen.properties, chosen.service) == ({}, None)


def test_before_an_s3_service_the_metastore_never_has_the_servers_own_keys(tmp_path: Path) -> None:
    own = {"kind": "s3", "access_key_id": "AKIAOWN", "secret_access_key": "own"}

    with pytest.raises(StartError, match=r"objects\.session_access_key_id"):
        catalog.keeper_spec(settings_for(tmp_path, objects=own), None)
