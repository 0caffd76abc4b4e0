"""What a kernelspec's arguments mean to the process that they start."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparkowl.relay.options import Options, Place, pair, parse


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(
            place=Place("https://spark.example.com", "team", "eu-central-1"),
            name="owl",
            work_group="etl",
            max_dpus=40,
            idle_minutes=90,
            properties={"spark.a": "1=2", "spark.b": "", "spark.c": "--x y"},
        ),
        Options(place=Place(data_dir=Path("/srv/spark owl"))),
    ],
)
def test_the_process_gets_the_options_that_the_kernelspec_was_made_from(options: Options) -> None:
    assert parse(["-f", "/run/connection.json", *options.arguments()]) == (
        Path("/run/connection.json"),
        options,
    )


@pytest.mark.parametrize("text", ["", "=", "=x", "spark.a"])
def test_a_property_is_a_name_and_a_value(text: str) -> None:
    with pytest.raises(ValueError, match="is not name=value"):
        pair(text)


def test_an_argument_that_there_is_not_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["-f", "x", "--workgroup=spark"])

    assert "--workgroup=spark" in capsys.readouterr().err
