"""Every list in pages, of any sizes, while rows come and go: properties over a real store."""

from __future__ import annotations

import asyncio
import json
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders import AT, make_calculation, make_context, make_driver, make_session
from tests.databases import ENGINES, new_place

from sparkowl.domain import calculation as calculation_domain
from sparkowl.domain import session as session_domain
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.ids import new_notebook_id
from sparkowl.domain.notebook import Notebook, Version, empty
from sparkowl.domain.workgroup import built_in
from sparkowl.operations import OPERATIONS, Context
from sparkowl.protocol import model
from sparkowl.store import Store, calculations, drivers, notebooks, sessions, workgroups

ARN = "arn:aws:athena:us-east-1:000000000000:workgroup/"
ENGINE = "Apache Spark version 4.1"
ROLE = "arn:aws:iam::000000000000:role/Spark"
SOME = settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: Names that no two examples share.
NUMBERS = count()


@pytest.fixture(scope="module", params=ENGINES)
def context(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Context]:
    store = Store.open(new_place(request.param, tmp_path_factory.mktemp("pages")))
    yield context_of(store)
    store.close()


def context_of(store: Store, key: bytes = b"k" * 32) -> Context:
    return make_context(store, paging_key=key)


async def call(context: Context, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
    return await OPERATIONS[operation](context, request)


@dataclass
class Listing:
    """One list of its own: its rows by what decides their order, and how they come and go."""

    context: Context

    operation = ""
    member = ""
    #: The most rows that a page may have.
    most = 50

    def __post_init__(self) -> None:
        self.name = f"list-{next(NUMBERS)}"
        self.rows: dict[str, Any] = {}

    async def prepare(self) -> None:
        """Make what the rows belong to."""

    async def clear(self) -> None:
        """Take away what other examples would see."""

    async def add(self, place: int) -> None:
        """A new row; ``place`` says where in the order, more or less."""
        raise NotImplementedError

    async def remove(self, row: str) -> None:
        raise NotImplementedError

    @property
    def request(self) -> dict[str, Any]:
        raise NotImplementedError

    def name_of(self, item: dict[str, Any]) -> str:
        raise NotImplementedError

    def in_order(self) -> list[str]:
        return sorted(self.rows, key=lambda row: self.rows[row])

    async def page(self, **more: Any) -> tuple[list[str], str | None]:
        answer = await call(self.context, self.operation, self.request | more)
        found = [self.name_of(item) for item in answer[self.member]]
        return [name for name in found if self.is_ours(name)], answer["NextToken"]

    def is_ours(self, name: str) -> bool:
        return True


class Sessions(Listing):
    operation, member = "ListSessions", "Sessions"

    async def prepare(self) -> None:
        await create(self.context, self.name)

    async def clear(self) -> None:
        await call(self.context, "DeleteWorkGroup",
                   {"WorkGroup": self.name, "RecursiveDeleteOption": True})  # fmt: skip

    async def add(self, place: int) -> None:
        # Three of an age, so that the id has to decide.
        created = AT + timedelta(seconds=place // 3)
        session = make_session(work_group=self.name, created_at=created)
        await self.context.store.write(partial(sessions.insert_session, session=session))
        self.rows[session.id] = Descending((created, session.id))

    async def remove(self, row: str) -> None:
        event = session_domain.Event.TERMINATE_ASKED
        await self.context.store.write(partial(sessions.change, session_id=row, event=event, at=AT))

    @property
    def request(self) -> dict[str, Any]:
        return {"WorkGroup": self.name, "StateFilter": "IDLE"}

    def name_of(self, item: dict[str, Any]) -> str:
        return str(item["SessionId"])


class Calculations(Listing):
    operation, member = "ListCalculationExecutions", "Calculations"

    async def prepare(self) -> None:
        self.session = make_session()
        await self.context.store.write(partial(sessions.insert_session, session=self.session))

    async def add(self, place: int) -> None:
        submitted = AT + timedelta(seconds=place // 3)
        made = make_calculation(session_id=self.session.id, submitted_at=submitted)
        await self.context.store.write(partial(calculations.insert_calculation, calculation=made))
        self.rows[made.id] = Descending((submitted, made.id))

    async def remove(self, row: str) -> None:
        event = calculation_domain.Event.FAILED
        await self.context.store.write(
            partial(calculations.change, calculation_id=row, event=event, at=AT)
        )

    @property
    def request(self) -> dict[str, Any]:
        return {"SessionId": self.session.id, "StateFilter": "RUNNING"}

    def name_of(self, item: dict[str, Any]) -> str:
        return str(item["CalculationExecutionId"])


class Notebooks(Listing):
    operation, member = "ListNotebookMetadata", "NotebookMetadataList"

    async def prepare(self) -> None:
        await create(self.context, self.name)

    async def clear(self) -> None:
        await call(self.context, "DeleteWorkGroup",
                   {"WorkGroup": self.name, "RecursiveDeleteOption": True})  # fmt: skip

    async def add(self, place: int) -> None:
        created = AT + timedelta(seconds=place // 3)
        notebook = Notebook(
            id=new_notebook_id(),
            work_group=self.name,
            name=f"Part {next(NUMBERS)}",
            created_at=created,
            modified_at=created,
        )
        first = Version(number=1, payload=empty(), saved_at=created)
        await self.context.store.write(
            partial(notebooks.insert_notebook, notebook=notebook, first=first)
        )
        self.rows[notebook.id] = Descending((created, notebook.id))

    async def remove(self, row: str) -> None:
        await call(self.context, "DeleteNotebook", {"NotebookId": row})

    @property
    def request(self) -> dict[str, Any]:
        return {"WorkGroup": self.name, "Filters": {"Name": "part"}}

    def name_of(self, item: dict[str, Any]) -> str:
        return str(item["NotebookId"])


class NotebookSessions(Sessions):
    """More than a notebook has: its list could hold them."""

    operation, member = "ListNotebookSessions", "NotebookSessionsList"
    most = 10

    async def prepare(self) -> None:
        await super().prepare()
        made = await call(self.context, "CreateNotebook", {"WorkGroup": self.name, "Name": "n"})
        self.notebook_id = made["NotebookId"]

    async def add(self, place: int) -> None:
        before = set(self.rows)
        await super().add(place)
        [session_id] = set(self.rows) - before
        await self.context.store.write(
            partial(sessions.set_notebook, session_id=session_id, notebook_id=self.notebook_id)
        )

    @property
    def request(self) -> dict[str, Any]:
        return {"NotebookId": self.notebook_id}


class WorkGroups(Listing):
    operation, member = "ListWorkGroups", "WorkGroups"

    async def clear(self) -> None:
        for name in list(self.rows):
            await self.remove(name)

    async def add(self, place: int) -> None:
        letter = string.ascii_letters[place % 52]
        name = f"{letter}-{self.name}-{next(NUMBERS)}"
        await create(self.context, name)
        self.rows[name] = name

    async def remove(self, row: str) -> None:
        await call(self.context, "DeleteWorkGroup", {"WorkGroup": row})

    @property
    def request(self) -> dict[str, Any]:
        return {}

    def name_of(self, item: dict[str, Any]) -> str:
        return str(item["Name"])

    def is_ours(self, name: str) -> bool:
        return f"-{self.name}-" in name


class Tags(Listing):
    operation, member = "ListTagsForResource", "Tags"

    async def prepare(self) -> None:
        await create(self.context, self.name)

    async def clear(self) -> None:
        await call(self.context, "DeleteWorkGroup", {"WorkGroup": self.name})

    async def add(self, place: int) -> None:
        key = f"{'aé_Z9 ü'[place % 7]}{next(NUMBERS)}"
        request = {"ResourceARN": ARN + self.name, "Tags": [{"Key": key, "Value": "v"}]}
        await call(self.context, "TagResource", request)
        self.rows[key] = key.encode()

    async def remove(self, row: str) -> None:
        request = {"ResourceARN": ARN + self.name, "TagKeys": [row]}
        await call(self.context, "UntagResource", request)

    @property
    def request(self) -> dict[str, Any]:
        return {"ResourceARN": ARN + self.name}

    def name_of(self, item: dict[str, Any]) -> str:
        return str(item["Key"])


class Descending:
    """Sorts the other way round."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: Descending) -> bool:
        return bool(self.value > other.value)


async def create(context: Context, name: str) -> None:
    configuration = {"EngineVersion": {"SelectedEngineVersion": ENGINE}, "ExecutionRole": ROLE}
    await call(context, "CreateWorkGroup", {"Name": name, "Configuration": configuration})


GROWING = [Sessions, Calculations, WorkGroups, Tags, Notebooks, NotebookSessions]
#: Rows at first: their places in the order.
ROWS = st.lists(st.integers(0, 60), max_size=14)
#: Before each page: how many rows it may have, rows that come, and which of them go.
STEPS = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.lists(st.integers(0, 60), max_size=2),
        st.lists(st.integers(0, 40), max_size=2),
    ),
    min_size=1,
    max_size=8,
)

Scenario = Callable[[Listing], Any]


def play(kind: type[Listing], context: Context, scenario: Scenario) -> None:
    async def run() -> None:
        listing = kind(context)
        await listing.prepare()
        try:
            await scenario(listing)
        finally:
            await listing.clear()

    asyncio.run(run())


@pytest.mark.parametrize("kind", GROWING)
def test_pages_of_any_sizes_one_after_another_are_the_whole_in_order(
    context: Context, kind: type[Listing]
) -> None:
    @SOME
    @given(ROWS, st.lists(st.integers(1, 8), min_size=1, max_size=4))
    def check(places: list[int], sizes: list[int]) -> None:
        async def scenario(listing: Listing) -> None:
            for place in places:
                await listing.add(place)
            found: list[str] = []
            more: dict[str, Any] = {}
            for turn in count():
                rows, token = await listing.page(MaxResults=sizes[turn % len(sizes)], **more)
                assert len(rows) <= sizes[turn % len(sizes)]
                found += rows
                if token is None:
                    break
                more = {"NextToken": token}
            assert found == listing.in_order()
            whole, token = await listing.page()
            assert whole == found[: listing.most]
            assert (token is None) == (len(found) <= listing.most)

        play(kind, context, scenario)

    check()


@pytest.mark.parametrize("kind", GROWING)
def test_while_rows_come_and_go_those_that_stay_are_shown_once_and_in_order(
    context: Context, kind: type[Listing]
) -> None:
    @SOME
    @given(ROWS, STEPS)
    def check(places: list[int], steps: list[tuple[int, list[int], list[int]]]) -> None:
        async def scenario(listing: Listing) -> None:
            for place in places:
                await listing.add(place)
            stay, order = set(listing.rows), dict(listing.rows)
            found: list[str] = []
            more: dict[str, Any] = {}
            for turn in count():
                size, coming, going = steps[turn % len(steps)] if turn < 30 else (50, [], [])
                rows, token = await listing.page(MaxResults=size, **more)
                assert len(rows) <= size
                found += rows
                if token is None:
                    break
                more = {"NextToken": token}
                for place in coming if len(listing.rows) < 45 else []:
                    await listing.add(place)
                order |= listing.rows
                for number in going:
                    if listing.rows:
                        row = sorted(listing.rows)[number % len(listing.rows)]
                        await listing.remove(row)
                        del listing.rows[row]
                        stay.discard(row)
            assert len(found) == len(set(found))
            assert found == sorted(found, key=lambda row: order[row])
            assert stay <= set(found) <= set(order)

        play(kind, context, scenario)

    check()


# --- lists that stand still --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "member"),
    [("ListEngineVersions", "EngineVersions"), ("ListApplicationDPUSizes", "ApplicationDPUSizes")],
)
@pytest.mark.parametrize("size", range(1, 8))
def test_the_fixed_lists_come_in_pages_too(
    context: Context, operation: str, member: str, size: int
) -> None:
    async def run() -> None:
        whole = (await call(context, operation, {}))[member]
        found: list[Any] = []
        more: dict[str, Any] = {}
        while True:
            answer = await call(context, operation, {"MaxResults": size, **more})
            found += answer[member]
            if answer["NextToken"] is None:
                break
            more = {"NextToken": answer["NextToken"]}
        assert found == whole

    asyncio.run(run())


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_executors_of_a_session_come_in_pages(tmp_path: Path, engine: str) -> None:
    store = Store.open(new_place(engine, tmp_path))
    context, session = context_of(store), make_session()
    await store.write(partial(sessions.insert_session, session=session))
    driver = make_driver(session_id=session.id)
    await store.write(partial(drivers.insert_driver, driver=driver))
    whole = await call(context, "ListExecutors", {"SessionId": session.id})

    found: list[Any] = []
    more: dict[str, Any] = {}
    while True:
        request = {"SessionId": session.id, "MaxResults": 1, **more}
        answer = await call(context, "ListExecutors", request)
        found += answer["ExecutorsSummary"]
        if answer["NextToken"] is None:
            break
        more = {"NextToken": answer["NextToken"]}
    store.close()

    assert found == whole["ExecutorsSummary"] != []


# --- tokens ------------------------------------------------------------------------------------


async def a_token(listing: Listing) -> str:
    for place in range(3):
        await listing.add(place)
    _, token = await listing.page(MaxResults=1)
    assert token is not None
    return token


async def require_refused(
    context: Context, operation: str, request: Mapping[str, Any], token: str
) -> None:
    with pytest.raises(InvalidRequest, match="NextToken is not one that this operation gave"):
        await call(context, operation, {**request, "NextToken": token})


@pytest.mark.parametrize("kind", GROWING)
def test_a_token_that_was_altered_anywhere_is_refused(
    context: Context, kind: type[Listing]
) -> None:
    async def scenario(listing: Listing) -> None:
        token = await a_token(listing)
        sealed = urlsafe_b64decode(token)
        for place in range(len(sealed)):
            altered = bytearray(sealed)
            altered[place] ^= 1 << (place % 8)
            forged = urlsafe_b64encode(altered).decode()
            await require_refused(context, listing.operation, listing.request, forged)
        for forged in (token[:-4], token + "AAAA", token.swapcase(), json.dumps(["x"]), "ü"):
            await require_refused(context, listing.operation, listing.request, forged)

    play(kind, context, scenario)


@pytest.mark.parametrize("kind", GROWING)
def test_a_token_is_good_for_its_list_only_and_for_no_other_servers(
    context: Context, kind: type[Listing]
) -> None:
    async def scenario(listing: Listing) -> None:
        token = await a_token(listing)
        other_server = context_of(context.store, b"x" * 32)
        await require_refused(other_server, listing.operation, listing.request, token)
        for other in GROWING:
            another = other(context)
            await another.prepare()
            if another.request != listing.request or other is not kind:
                await require_refused(context, another.operation, another.request, token)
            await another.clear()
        for operation in ("ListEngineVersions", "ListApplicationDPUSizes"):
            await require_refused(context, operation, {}, token)
        if "StateFilter" in listing.request:
            changed = listing.request | {"StateFilter": "FAILED"}
            await require_refused(context, listing.operation, changed, token)
            without = {k: v for k, v in listing.request.items() if k != "StateFilter"}
            await require_refused(context, listing.operation, without, token)
        # Another size of the page is no other list, and a page may be read again.
        for size in (1, 2, 1):
            rows, _ = await listing.page(MaxResults=size, NextToken=token)
            assert rows == listing.in_order()[1 : 1 + size]

    play(kind, context, scenario)


def test_every_list_of_the_api_is_here() -> None:
    tested = {kind.operation for kind in GROWING}
    tested |= {"ListEngineVersions", "ListApplicationDPUSizes", "ListExecutors"}
    paged = {
        name for name in OPERATIONS if "NextToken" in model.operations()[name].input_shape.members
    }

    assert tested == paged


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_page_of_workgroups_begins_behind_one_that_is_gone(
    tmp_path: Path, engine: str
) -> None:
    store = Store.open(new_place(engine, tmp_path))
    context = context_of(store)
    for group in built_in(AT):
        await store.write(partial(workgroups.insert_work_group, work_group=group))
    for name in ("a", "b", "c"):
        await create(context, name)
    first = await call(context, "ListWorkGroups", {"MaxResults": 2})
    await call(context, "DeleteWorkGroup", {"WorkGroup": "b"})

    request = {"NextToken": first["NextToken"], "MaxResults": 50}
    second = await call(context, "ListWorkGroups", request)
    store.close()

    assert [group["Name"] for group in second["WorkGroups"]] == ["c", "primary", "spark"]
