"""What several commands share: the data directory, the settings, the way to say no."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args, get_origin

import typer
from pydantic import BaseModel, SecretStr, ValidationError
from rich.console import Console

from sparkowl.config import Settings

#: What a person reads; standard output is for results.
err = Console(stderr=True, highlight=False, soft_wrap=True)

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Folder of the server's database, keys and buckets. "
        "Default: $SPARKOWL_DATA_DIR, else ~/.local/share/sparkowl.",
        show_default=False,
    ),
]


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong and end the command."""
    err.print(message, markup=False, style="red")
    raise typer.Exit(code)


def plain(text: str) -> str:
    """A caller's text without what a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def settings(data_dir: Path | None, **given: Any) -> Settings:
    """The settings; a wrong one ends the command with its name and the rule."""
    values = {name: value for name, value in given.items() if value is not None}
    if data_dir is not None:
        values["data_dir"] = data_dir
    try:
        return Settings(**values)
    except ValidationError as error:
        fail("\n".join(_problem(problem) for problem in error.errors()), code=2)
    except ValueError as error:
        fail(f"The settings cannot be read: {error}", code=2)


def _problem(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        nearest = get_close_matches(name, list(setting_names(Settings)), n=1)
        return f"There is no setting {name}." + "".join(f" Is {n} meant?" for n in nearest)
    # These may hold what is not for everybody to read.
    if isinstance(problem["input"], dict | BaseModel) or _is_secret(Settings, problem["loc"]):
        return f"Setting {name}: {problem['msg']}."
    return f"Setting {name}: {problem['msg']} (given: {problem['input']!r})."


def _is_secret(kind: Any, place: Sequence[int | str]) -> bool:
    """Whether a setting of this kind, or what is at this place in it, is a secret."""
    if kind is SecretStr:
        return True
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(place[0])) if place else None
        return field is not None and _is_secret(field.annotation, place[1:])
    if get_origin(kind) is dict:
        return _is_secret(get_args(kind)[1], place[1:])
    return any(_is_secret(each, place) for each in get_args(kind))


def setting_names(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every setting by its full name, such as ``driver.heap``."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_names(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
