"""From a ``stop`` block to its signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.members import build
from holdfast.signals import SIGNALS
from holdfast.signals.base import Signal


def signal_of(spec: Mapping[str, Any], *, allow_code: bool = False) -> Signal:
    """Build the signal of a ``stop`` block; its ``signal`` key names the member.

    Raises:
        UnknownName: the name, or one of the options, is not known.
        UserError: the member refuses the values.
    """
    fields = dict(spec)
    signal: Signal = build("signal", {"name": fields.pop("signal", None), **fields}, SIGNALS, allow_code=allow_code)
    return signal
