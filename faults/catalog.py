"""What is broken, where, and what must hold afterwards: the words of the suite and of its page."""

from __future__ import annotations

from typing import Final

#: Seconds within which everything must have come right after the fault is over. A cold start is in
#: it, which takes a busy machine most of a minute.
BOUND_S: Final = 120.0
#: Points of a life, in its order, and what they mean.
POINTS: Final = {
    "asked": "StartSession's row is in a transaction that is not committed",
    "row written": "the session's and the driver's rows are committed, no process is there",
    "process started": "the agent's process is there, its handle is not in the driver's row",
    "handle written": "the handle is committed, the driver has not dialled home",
    "linked": "the cold driver's agent has just been welcomed",
    "idle": "the session is IDLE and at rest",
    "submitted": "the block was sent to the agent, which is not written yet",
    "running": "the block runs",
    "output written": "the block is over, its outputs are not complete",
    "output uploaded": "the outputs are complete in the bucket, the end is not reported",
    "ended": "the end is in a transaction that is not committed",
    "terminating": "TerminateSession was answered, the driver has not been told",
}
_PARTS: Final = {
    "server": "the server's process",
    "agent": "the driver's agent",
    "kernel": "the Python kernel",
    "jvm": "the JVM",
}
FAULTS: Final = {
    **{f"kill {part}": f"`kill -9` of {what}" for part, what in _PARTS.items()},
    **{
        f"freeze {part}": f"SIGSTOP of {what}, and SIGCONT some seconds later"
        for part, what in _PARTS.items()
    },
    "cut link": "every connection of agents is closed, new ones too, for some seconds",
    "delay link": "each piece that agents and server send takes half a second longer, both ways",
    "full disk": "the data directory's file system is full to the last byte for some seconds",
    "no rights": "nothing in the data directory can be opened for some seconds (mode 000)",
    "clock forward": "the server's clock jumps an hour ahead and stays there",
    "clock back": "the server's clock jumps back by an hour and stays there",
    "lock database": "another process holds the database's write lock for some seconds",
}
INVARIANTS: Final = (
    "Every acknowledged id answers, and its token gives the same session or calculation.",
    "The session is IDLE and a new block gives the right output, or it has ended with a reason. "
    "Only faults that kill a part of the driver, or take the storage away, may end it.",
    "An acknowledged calculation has ended. COMPLETED means that all three outputs are what they "
    "should be, to the byte; otherwise there is a reason, and all three can be read.",
    "No session is in a state that is not final without a living driver.",
    "No process, zombie, listening socket or folder of a driver whose row has ended; "
    "no unsent fact, staging draft or spool file, but the outputs of a calculation that says they "
    "could not be stored, which wait for the end of their driver.",
    "No 5xx for a start that was committed, and one session for one token.",
    "Every change of state in the history is one of the tables'.",
)

_NO_DRIVER: Final = "there is no driver yet"
_NO_LINK: Final = "there is no link yet"


def cannot(point: str, fault: str) -> str | None:
    """Why the fault cannot happen at this point."""
    of_driver = fault.endswith(("agent", "kernel", "jvm", "link"))
    if point in ("asked", "row written") and of_driver:
        return _NO_DRIVER
    if point in ("process started", "handle written") and fault == "cut link":
        return _NO_LINK
    return None


def may_end(fault: str) -> bool:
    """Whether the fault may end the session: a part of it is gone, or the storage refused."""
    return fault in ("kill agent", "kill kernel", "kill jvm", "full disk", "no rights")
