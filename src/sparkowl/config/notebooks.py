"""Settings of notebooks: the way to them, and how they are kept."""

from __future__ import annotations

from pydantic import Field

from sparkowl.config.section import Positive, Section


class NotebooksSection(Section):
    url: str | None = Field(None, pattern=r"^https?://[^/?#\s@;,'\"]+$")
    """Where browsers reach this server, as ``https://spark.example.com``: what the links of
    CreatePresignedNotebookUrl begin with. With ``{session}`` in the name of the host, as in
    ``https://{session}.notebooks.example.com``, each session has a host of its own. Unset: the
    address that the server listens on."""

    link_s: Positive = 600
    """A link of CreatePresignedNotebookUrl opens its notebook for this long."""

    visit_s: Positive = 12 * 3600
    """A browser that came in by a link stays in for this long, or until the session ends."""

    ahead: bool = True
    """Warm drivers have a Jupyter process ready (about 55 MB), which a session that asks for no
    notebook gives back. False: it is started with the session, which takes a second more."""

    open_page_is_activity: bool = False
    """An open page alone keeps its session from the idle timeout."""

    warn_s: Positive = 120
    """How long before the idle stop the page warns."""

    versions: int = Field(200, ge=1)
    """Saves that are kept of each notebook; the oldest are dropped first."""

    downloads: bool = True
    """A NotebookFileURI may be an ``https://`` one, which the server fetches from the public
    internet. False: only ``s3://`` ones are taken."""

    download_s: float = Field(30, gt=0, le=120, allow_inf_nan=False)
    """The longest that fetching a NotebookFileURI may take."""
