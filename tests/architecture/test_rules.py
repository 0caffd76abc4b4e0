"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sparkowl.config import Settings
from sparkowl.domain.errors import (
    InvalidRequest,
    RequestError,
    ResourceNotFound,
    SessionAlreadyExists,
    TooManyRequests,
)
from sparkowl.operations import OPERATIONS
from sparkowl.protocol import errors, model
from sparkowl.protocol.sigv4 import SignatureError

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "sparkowl"
TESTS = ROOT / "tests"
MODULES = sorted(SOURCE.rglob("*.py"))
#: Operations that can refuse for want of room, and so answer TooManyRequestsException.
LIMITED = {"StartSession"}
#: Operations that take the ARN of a resource.
NAMING = {"TagResource", "UntagResource", "ListTagsForResource"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), name_of(path))


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            yield node.module or ""


def within(*rooms: str) -> set[Path]:
    return {path for path in MODULES if path.relative_to(SOURCE).parts[0] in rooms}


# --- rooms -------------------------------------------------------------------------------------


def test_the_domain_imports_only_itself_and_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {"sparkowl.domain"}
    clocks_and_io = {"asyncio", "logging", "time", "os", "pathlib", "socket", "subprocess"}

    for path in within("domain"):
        for name in imports_of(path):
            root = name.partition(".")[0]
            assert root in allowed or name.startswith("sparkowl.domain"), (name_of(path), name)
            assert root not in clocks_and_io, (name_of(path), name)


def test_the_domain_never_asks_what_time_it_is_and_never_waits() -> None:
    for path in within("domain"):
        for node in ast.walk(tree_of(path)):
            assert not isinstance(node, ast.Await | ast.AsyncFunctionDef), name_of(path)
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"now", "utcnow", "today"}, name_of(path)


def test_sql_is_written_in_the_store_only() -> None:
    for path in set(MODULES) - within("store"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
                names = {alias.name for alias in node.names}
                # A transaction may be passed on, and its failure may be told.
                assert names <= {"Connection", "DatabaseError"}, (name_of(path), names)
        assert "sqlite3" not in set(imports_of(path)), name_of(path)


def test_the_environment_is_read_where_settings_are_and_where_drivers_are_started() -> None:
    allowed = {*within("config", "launchers", "agent", "metastore", "relay", "cli")}

    for path in set(MODULES) - allowed:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"environ", "getenv"}, name_of(path)


def test_the_codes_of_aws_errors_are_written_in_one_place() -> None:
    code = re.compile(r"\w+Exception")
    allowed = {SOURCE / "protocol" / "errors.py", *within("cli", "agent")}

    for path in set(MODULES) - allowed:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert code.fullmatch(node.value) is None, (name_of(path), node.value)


def test_only_the_domain_gives_an_entity_a_new_state() -> None:
    """By ``replace(..., state=...)``. New entities are born with one; the store copies them; and
    of a workgroup the caller says which."""
    copied = re.compile(r"(str|State)\(\w+\.state\)")

    for path in set(MODULES) - within("domain"):
        for node in ast.walk(tree_of(path)):
            for keyword in node.keywords if isinstance(node, ast.Call) else ():
                if keyword.arg == "state" and not copied.fullmatch(ast.unparse(keyword.value)):
                    assert isinstance(node, ast.Call)
                    made = ast.unparse(node.func)
                    assert made in {"Session", "Calculation", "domain.update"}, name_of(path)


@pytest.mark.parametrize("entity", ["session", "calculation"])
def test_within_the_domain_only_apply_does(entity: str) -> None:
    changing = {
        function.name
        for function in ast.walk(tree_of(SOURCE / "domain" / f"{entity}.py"))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and any(k.arg == "state" for k in node.keywords)
    }

    assert changing <= {"apply", "created_warm"}


def raises_again(handler: ast.ExceptHandler) -> bool:
    """What it does not know goes on its way."""
    return any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))


def test_everything_is_caught_in_few_places_only() -> None:
    """The doors, a worker of the queue, and the writer, which hands the error to its caller."""
    allowed = {
        SOURCE / "http" / "aws.py",
        SOURCE / "s3" / "door.py",
        SOURCE / "supervisor" / "workqueue.py",
        SOURCE / "store" / "writer.py",
        *within("agent", "cli"),
    }

    for path in set(MODULES) - allowed:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler) and not raises_again(node):
                caught = ast.unparse(node.type) if node.type is not None else "everything"
                assert caught not in {"Exception", "BaseException", "everything"}, name_of(path)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_lives_in_it(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), name_of(path)


# --- tests -------------------------------------------------------------------------------------


def test_no_test_patches_our_code() -> None:
    forbidden = {"mock", "patch", "monkeypatch", "Mock", "MagicMock", "mocker"}

    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(tree_of(path)):
            names = {
                ast.Name: lambda n: n.id,
                ast.Attribute: lambda n: n.attr,
                ast.arg: lambda n: n.arg,
                ast.alias: lambda n: n.name.rpartition(".")[2],
            }.get(type(node))
            if names is not None:
                assert names(node) not in forbidden, name_of(path)


def test_every_operation_is_athenas_and_is_called_by_boto3_in_a_test() -> None:
    called = {
        node.attr
        for path in (TESTS / "wire").glob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
    }

    assert set(OPERATIONS) <= set(model.operations())
    for name in OPERATIONS:
        method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        method = method.replace("dpusizes", "dpu_sizes")
        assert method in called, f"{name} has no wire test"


# --- errors ------------------------------------------------------------------------------------


def test_no_code_goes_out_that_the_model_does_not_know_for_the_operation() -> None:
    raised_by: dict[type[Exception], set[str]] = {
        InvalidRequest: set(OPERATIONS),
        TooManyRequests: LIMITED,
        ResourceNotFound: NAMING,
        SessionAlreadyExists: {"StartSession"},
    }

    for kind, wire in errors.known().items():
        for operation in raised_by.get(kind, set()):
            assert wire.code in model.declared_errors(operation), (kind, operation)
        if kind not in raised_by:
            assert wire.code in errors.COMMON_CODES, kind
    assert errors.INTERNAL.code in errors.COMMON_CODES


def test_every_error_of_a_caller_has_its_place_in_the_table() -> None:
    def kinds(root: type[Exception]) -> set[type[Exception]]:
        found = set(root.__subclasses__())
        return found | {kind for child in found for kind in kinds(child)}

    for kind in kinds(RequestError) | kinds(SignatureError):
        assert errors.wire_error(kind("why")) is not errors.INTERNAL, kind


# --- settings ----------------------------------------------------------------------------------


def fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{name}.")
        else:
            yield prefix + name, field


@pytest.mark.parametrize(
    ("name", "field"), list(fields(Settings)), ids=lambda value: str(value)[:30]
)
def test_every_setting_is_described(name: str, field: FieldInfo) -> None:
    assert field.description, f"{name} has no description"
    assert field.description.rstrip()[-1] in ".:", name
