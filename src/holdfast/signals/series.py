"""A reading as a series of known values, and what members that read one have in common."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.signals.base import History
from holdfast.signals.reading import Half, readings


class Known(NamedTuple):
    """A value that is known, and the step at which it was read."""

    step: int
    value: float


class Series(NamedTuple):
    """A reading over a history.

    Attributes:
        known: Its known values, oldest first.
        now: Step of the last record.
        tells: Whether the last record knows it.
    """

    known: list[Known]
    now: int
    tells: bool


def series(history: History, name: str, *, half: Half = "select", warmup: int = 0) -> Series:
    """Return a reading of a history that is not empty, from step ``warmup`` on.

    Raises:
        NotRecorded: a record lacks the reading.
    """
    values = readings(history, name, half)
    known = [
        Known(record.step, value)
        for record, value in zip(history, values, strict=True)
        if value is not None and record.step >= warmup
    ]
    now = history[-1].step
    return Series(known, now, bool(known) and known[-1].step == now)


def check_one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(choices)}, got {value!r}")


def check_count(name: str, value: object, *, least: int = 1) -> None:
    """Raise ValueError unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
