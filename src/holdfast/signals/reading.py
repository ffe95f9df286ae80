"""Which number a name means: the one place that knows about select and report halves.

A suite that a signal reads is split by problem hash. Its *report* half is recorded under the plain name
``eval_<suite>_<metric>``, which is what tables show; its *select* half under ``eval_<suite>_<metric>_select``. A suite
that is not split has the plain name only, and everybody reads that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from holdfast.errors import NotRecorded, did_you_mean
from holdfast.records import Record, finite

Half = Literal["select", "report"]
SELECT = "_select"
UPDATE_NORM, UPDATE_NORM_TRAINED = "update_norm", "update_norm_trained"
BESIDE_SUITES = (UPDATE_NORM, UPDATE_NORM_TRAINED)
"""Readings that every record holds beside those of its suites (`holdfast.train.update_norm`)."""
KL_FROM_BASE, KL_TO_BASE = "kl_from_base", "kl_to_base"
VALIDATION_NLL, TRAIN_NLL, NLL_GAP = "validation_nll", "train_nll", "nll_gap"
PREDICTION_ENTROPY, PREDICTION_FLIPS = "prediction_entropy", "prediction_flips"
BASE_TEXT_NLL = "base_text_nll"
GRADIENT_DISPARITY, GRADIENT_DISPARITY_RELATIVE = "gradient_disparity", "gradient_disparity_relative"
GRADIENT_COSINE = "gradient_cosine"
ROTATION_LEFT, ROTATION_RIGHT = "rotation_left", "rotation_right"
"""Readings of probes: a record holds them where the recipe asks for the probe (`holdfast.probes`)."""


def reading(record: Record, name: str, half: Half) -> float | None:
    """Return the reading ``name`` of one half; None if it was tried and is unknown (or not finite).

    ``select`` falls back to the plain name where the record holds no select half.

    Raises:
        NotRecorded: the record holds no such reading; the message names what it holds.
    """
    return _value(record, _spelling(record, name, half), name)


def readings(history: Sequence[Record], name: str, half: Half) -> list[float | None]:
    """Return the reading of every record. The first record settles whether the suite is split.

    Otherwise a record without its select half would silently mix the two halves in one series.

    Raises:
        NotRecorded: a record holds no such reading.
    """
    if not history:
        return []
    spelling = _spelling(history[0], name, half)
    return [_value(record, spelling, name) for record in history]


def is_split(record: Record, name: str) -> bool:
    """Whether ``name`` has a select half of its own in this record."""
    return name + SELECT in record.readings


def _spelling(record: Record, name: str, half: Half) -> str:
    return name + SELECT if half == "select" and is_split(record, name) else name


def _value(record: Record, spelling: str, asked: str) -> float | None:
    if spelling not in record.readings:
        known = [recorded for recorded in record.readings if not recorded.endswith(SELECT)]
        choice = did_you_mean(asked, known) or "Nothing is recorded there."
        raise NotRecorded(f"no reading {spelling!r} at step {record.step}. {choice}")
    return finite(record.readings[spelling])
