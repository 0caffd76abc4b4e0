"""Every setting, once. Nobody else reads the environment or the settings file.

Settings come, the later ones winning, from the defaults here, ``sparkowl.toml`` in the data
directory (or the file that ``SPARKOWL_CONFIG`` names), environment variables
(``SPARKOWL_DRIVER__HEAP=2g`` is ``heap`` of ``[driver]``), and the command line. A key that does
not exist stops the start.
"""

from __future__ import annotations

from typing import Final

from sparkowl.config.drivers import EngineName, RoleSection
from sparkowl.config.limits import RateSection
from sparkowl.config.settings import DATABASE_FILE, Settings, users_of

#: In the data directory: where the running server listens, and its process.
ADDRESS_FILE: Final = "server.json"
#: In the data directory: one line per call.
AUDIT_FILE: Final = "audit.jsonl"
#: In the data directory: a folder for each driver that has ended.
POSTMORTEMS: Final = "postmortem"
#: In the data directory: what the shared catalogue keeps, and its processes.
CATALOG_FOLDER: Final = "catalog"

__all__ = [
    "ADDRESS_FILE",
    "AUDIT_FILE",
    "CATALOG_FOLDER",
    "DATABASE_FILE",
    "POSTMORTEMS",
    "EngineName",
    "RateSection",
    "RoleSection",
    "Settings",
    "users_of",
]
