"""The composition root: the only room that knows every other, and the order of start and stop.

:mod:`.serve` puts the parts together, :mod:`.chosen` says what the settings mean for each,
:mod:`.isolation` what keeps user code in its place, :mod:`.process` holds port and data directory.
"""

from sparkowl.app.errors import StartError
from sparkowl.app.serve import Running, serve

__all__ = ["Running", "StartError", "serve"]
