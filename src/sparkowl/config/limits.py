"""Settings of what may be used: limits, rates, budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sparkowl.config.section import Positive, Section


class LimitsSection(Section):
    sessions: int = Field(20, ge=1)
    """Sessions that may live at once."""

    session_dpus: int = Field(60, ge=2)
    """Largest MaxConcurrentDpus (AWS: 60)."""

    account_dpus: int = Field(160, ge=1)
    """DPUs in use at once (AWS: 160). A session on one machine uses one."""

    workgroup_sessions: int | None = Field(None, ge=1)
    """Sessions that may live at once in a workgroup; unset: no limit but the account's."""

    workgroup_dpus: int | None = Field(None, ge=1)
    """DPUs in use at once in a workgroup; unset: no limit but the account's."""

    queue_when_full: bool = False
    """Where there is no room, let a start wait in CREATING, in order, instead of refusing it."""

    queue_length: int = Field(100, ge=1)
    """Sessions that may wait; further ones are refused."""

    request_body_bytes: int = Field(32 * 1024 * 1024, ge=1024)
    """Largest body of an API request. Objects are not limited by it. A notebook of the largest size
    (10 MiB) takes up to three times that where a client writes JSON in ASCII, as boto3 does."""


class RateSection(Section):
    per_s: float = Field(ge=0)
    """Calls a second; 0: no limit."""

    burst: int = Field(ge=1)
    """Calls at once after a pause."""


class ReadRateSection(RateSection):
    per_s: float = Field(100, ge=0)
    """Calls a second that one key may make of each operation that only reads (Get..., List...);
    0: no limit."""

    burst: int = Field(200, ge=1)
    """The same at once after a pause."""


class WriteRateSection(RateSection):
    per_s: float = Field(20, ge=0)
    """Calls a second that one key may make of each other operation; 0: no limit."""

    burst: int = Field(80, ge=1)
    """The same at once after a pause."""


class RatesSection(Section):
    reads: ReadRateSection = ReadRateSection()
    """Of operations that only read."""

    writes: WriteRateSection = WriteRateSection()
    """Of the others."""

    operations: dict[str, RateSection] = Field(default_factory=dict)
    """Of single operations, by name, instead: ``[rates.operations.StartSession]``."""


class BudgetSection(Section):
    """What a workgroup may use, and what happens then."""

    dpu_hours: Positive
    """DPU-hours of all sessions of the workgroup in a period."""

    period: Literal["day", "month"] = "month"
    """When the budget begins anew: at midnight, or on the first of the month, both in UTC."""

    warn_at: Positive = 0.8
    """Fraction of it at which the server logs a warning, once in a period."""

    refuse_at: Positive = 1.0
    """Fraction at which StartSession answers TooManyRequestsException."""

    stop_at: Positive | None = None
    """Fraction at which the sessions that run are ended, within half a minute. Unset: never."""

    @model_validator(mode="after")
    def _in_order(self) -> BudgetSection:
        if self.warn_at > self.refuse_at:
            raise ValueError("warn_at must not be greater than refuse_at")
        if self.stop_at is not None and self.stop_at < self.refuse_at:
            raise ValueError("stop_at must not be less than refuse_at")
        return self


class WorkGroupSection(Section):
    """What holds for one workgroup, whether it exists already or not."""

    sessions: int | None = Field(None, ge=1)
    """Sessions that may live at once in it, instead of ``limits.workgroup_sessions``."""

    dpus: int | None = Field(None, ge=1)
    """DPUs in use at once in it, instead of ``limits.workgroup_dpus``."""

    budget: BudgetSection | None = None
    """DPU-hours that it may use; unset: no budget."""

    requirements: Path | None = None
    """A pip requirements file that names every Python package which sessions of the workgroup have
    besides their own (docs/operators/packages.md). Built once, and again when the file changes."""

    @field_validator("requirements")
    @classmethod
    def _requirements(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        value = value.expanduser()
        if not value.is_absolute():
            raise ValueError("must be an absolute path: the server may be started from anywhere")
        return value
