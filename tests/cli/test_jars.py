"""``sparkowl jars``, up to where a repository is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import command
from tests.launchers.test_jars import shelf


def test_list_shows_the_operators_own_and_what_was_fetched_and_whether_it_is_whole(
    tmp_path: Path,
) -> None:
    own = tmp_path / "own" / "iceberg"
    own.mkdir(parents=True)
    (own / "mine.jar").write_bytes(b"x" * 2_500_000)
    cache = tmp_path / "cache"
    shelf(cache, "delta", spark="3.5.8")
    (shelf(cache, "s3a", spark="4.1.4") / "b.jar").write_text("damaged")
    settings = f"cache_dir = '{cache}'\n[jars]\nfolder = '{tmp_path / 'own'}'\n"
    (tmp_path / "sparkowl.toml").write_text(settings)

    found = command("jars", "list", "--data-dir", str(tmp_path))

    assert [line.split() for line in found.stdout.splitlines()[1:]] == [
        ["iceberg", "any", "2.5", "MB", str(own), "(your", "own)"],
        ["delta", "3.5.8", "0.0", "MB", "g:delta:1"],
        ["s3a", "4.1.4", "0.0", "MB", "damaged:", "b.jar"],
    ]


def test_what_cannot_be_fetched_is_answered_with_what_can(tmp_path: Path) -> None:
    found = command("jars", "fetch", "deltalake", "--data-dir", str(tmp_path))
    engine = command("jars", "fetch", "delta", "--engine", "Spark", "--data-dir", str(tmp_path))

    assert found.returncode == 2
    assert found.stderr == (
        "There is nothing called deltalake to fetch. "
        "Names: s3a, iceberg, delta, hudi, postgresql.\n"
    )
    assert engine.returncode == 1
    assert engine.stderr.startswith('There is no engine "Spark". Engines: Apache Spark')


def test_a_wrong_setting_is_named_with_the_rule(tmp_path: Path) -> None:
    (tmp_path / "sparkowl.toml").write_text("[jars]\nrepositories = ['ftp://there']\n")

    found = command("jars", "list", "--data-dir", str(tmp_path))

    assert found.returncode == 2
    assert found.stderr.startswith("Setting jars.repositories.0: String should match pattern")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--repository", "ftp://there", "Setting jars.repositories.0: String should match pattern"),
        ("--ivy-settings", "missing.xml", "Setting jars.ivy_settings: there is no file "),
    ],
)
def test_a_wrong_option_is_named_with_the_rule(
    tmp_path: Path, option: str, value: str, says: str
) -> None:
    found = command("jars", "fetch", "delta", option, value, "--data-dir", str(tmp_path))

    assert found.returncode == 2
    assert found.stderr.startswith(says)
