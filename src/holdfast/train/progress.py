"""What a long job tells whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from holdfast.records import Record


class Progress(Protocol):
    """Hears of a run as it goes. The command line draws a bar; a notebook may plot."""

    def said(self, line: str) -> None:
        """Hear one line of information."""

    def started(self, steps: int, *, at: int) -> None:
        """Hear that training of ``steps`` steps begins, or goes on at step ``at``."""

    def logged(self, metrics: Mapping[str, float]) -> None:
        """Hear one line of training metrics (``step``, ``loss``, ``nll``, …)."""

    def measured(self, record: Record) -> None:
        """Hear what a moment measured."""


@dataclass(frozen=True)
class Silent:
    """Hears everything and says nothing."""

    def said(self, line: str) -> None:
        """Do nothing."""

    def started(self, steps: int, *, at: int) -> None:
        """Do nothing."""

    def logged(self, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def measured(self, record: Record) -> None:
        """Do nothing."""
