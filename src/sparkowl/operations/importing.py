"""Reading a notebook from object storage: what ImportNotebook or StartSession names."""

from __future__ import annotations

import asyncio

from sparkowl.domain import locations
from sparkowl.domain import notebook as domain
from sparkowl.domain.errors import InvalidRequest
from sparkowl.domain.locations import Location
from sparkowl.objects.errors import ObjectError
from sparkowl.operations.context import Context


def place_of(uri: str, member: str) -> Location:
    """The object that a URI names; :class:`InvalidRequest` for any other text."""
    try:
        return locations.parse_object(uri)
    except ValueError as error:
        raise InvalidRequest(f"{member} {uri[:200]} {error}.") from None


async def read(ctx: Context, place: Location, member: str) -> str:
    """The notebook in an object, checked as :func:`sparkowl.domain.notebook.require_payload` does.
    Whether the caller may read it is not looked at here.
    """
    what = f"{member} {place.uri}"
    try:
        # Before it is read: anything may be there.
        domain.require_size(await ctx.storage.size(place), what)
        data = await ctx.storage.read(place, domain.LARGEST + 1)
    except ObjectError as error:
        raise InvalidRequest(f"{what} cannot be read: {error}") from error
    return await asyncio.to_thread(domain.require_payload, data, what)
