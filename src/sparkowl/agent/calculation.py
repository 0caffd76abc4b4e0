"""The calculation that runs: what is known of it between its Run and its Ended."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from sparkowl.agent.cells import WaitingCell
from sparkowl.agent.messages import Outcome, Run
from sparkowl.agent.outputs import Outputs
from sparkowl.agent.spark import Stages
from sparkowl.agent.uploads import Upload

#: One that was stopped for good may hold out so long; then its kernel is killed.
KILL_AFTER_S: Final = 20.0
_REASON_LIMIT: Final = 500


class Calculation:
    """The one that runs."""

    def __init__(
        self, run: Run, outputs: Outputs, upload: Upload | None, cell: WaitingCell | None
    ) -> None:
        self.run = run
        self.outputs = outputs
        #: Where its outputs are not put into a folder.
        self.upload = upload
        #: The page's, where it is one of its cells.
        self.cell = cell
        self.stages = Stages()
        #: When it was asked to stop at any price.
        self._stop_at: float | None = None
        self.cancel_asked = asyncio.Event()
        self.error: dict[str, Any] | None = None
        self.began_at = 0.0
        self.report_start: asyncio.TimerHandle | None = None
        #: How its block ended, once it has.
        self.verdict: tuple[Outcome, str] | None = None

    def stop(self, *, for_good: bool) -> None:
        if for_good and self._stop_at is None:
            self._stop_at = time.monotonic()
        self.cancel_asked.set()

    @property
    def may_hold_out(self) -> bool:
        return self._stop_at is None or time.monotonic() - self._stop_at < KILL_AFTER_S

    def close(self, outcome: Outcome, reason: str) -> None:
        """The block is over. The first verdict stays; repeated: no effect."""
        if self.verdict is None:
            self.verdict = outcome, reason
            self.outputs.close()
            if self.upload is not None:
                self.upload.over()

    def ended(self, trouble: str) -> tuple[Outcome, str]:
        """How the whole of it ended. ``trouble``: why its outputs are not where they belong."""
        assert self.verdict is not None
        outcome, reason = self.verdict
        if self.cancel_asked.is_set() and outcome != "canceled":
            # Its block came to its own end, and then it was stopped while its outputs waited.
            return "canceled", ""
        if trouble and outcome != "canceled":
            own = f"{reason.rstrip('.')}. " if outcome == "failed" and reason else ""
            return "failed", own + trouble
        return outcome, reason


def outcome_of(reply: dict[str, Any]) -> tuple[Outcome, str]:
    """How a block ended, by its kernel's reply."""
    if reply["status"] == "ok":
        return "completed", ""
    first_line = str(reply.get("evalue", "")).strip().split("\n")[0]
    name = reply.get("ename", reply["status"])
    return "failed", (f"{name}: {first_line}" if first_line else str(name))[:_REASON_LIMIT]
