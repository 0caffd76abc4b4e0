"""Settings of the port: what one connection, and all of them, may take."""

from __future__ import annotations

from pydantic import Field

from sparkowl.config.section import Positive, Section


class HttpSection(Section):
    connections: int | None = Field(None, ge=16)
    """Connections at once. One more closes the one that has been without a request for longest, or
    is told to come back. Unset: half of what the limit on open files leaves, at most 10000."""

    head_bytes: int = Field(64 * 1024, ge=8 * 1024)
    """Largest head of a request (its first line and headers), and largest trailer. Answer: 431."""

    headers: int = Field(200, ge=50)
    """Headers of one request, or of its trailer. Answer: 431."""

    head_s: Positive = 15
    """A connection that has not sent a whole head by then is closed."""

    keep_alive_s: Positive = 60
    """A connection without a request is closed after this long."""

    stall_s: Positive = 60
    """A body of which nothing comes for this long, or an answer of which nothing is read, ends its
    connection..."""

    least_bytes_per_s: int = Field(500, ge=0)
    """...and so does one that is slower than this..."""

    pace_s: Positive = 60
    """...over this long. Time in which the server itself keeps the other end waiting counts for
    nothing."""

    bodies_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    """Bodies of API requests in memory at once, in all. Answer: ThrottlingException. Objects are
    not limited by it."""
