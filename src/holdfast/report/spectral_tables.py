"""A spectral diagnosis as tables: by role, by block, the most moved matrices, a trajectory, another update beside.

Numbers of several matrices are medians over those that moved, unless a heading says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.report import words
from holdfast.report.spectral_profile import (
    Checkpoint,
    Diagnosis,
    Quantity,
    inside,
    middle,
    pooled_undone,
    relative,
    rotation,
    stable_rank,
    value_shift,
)
from holdfast.report.spectral_readings import Angles, MatrixReading
from holdfast.report.tables import Table

SHOWN = 10
HALF_UNCHANGED = 0.5
"""Share of weights lost to rounding above which a reader is warned."""
FEW = 4
NOTHING = 1e-12
"""What is smaller is rounding."""
ROUGH = 0.25
"""Error relative to the reading above which first order is called rough."""

COLUMNS = (
    "matrices", "moved", "‖D‖/‖W‖", "top left", "× chance", "top right", "× chance", "values", "inside × chance",
    "stable rank", "signal rank",
)  # fmt: skip
NOTE = (
    "D = tuned − base; medians over matrices that moved. Top left and right: root mean square angle, in degrees, of "
    "the first k singular directions, and beside them Σ sin² relative to random subspaces (1 = unrelated). Values: "
    "‖s_tuned − s_base‖ / ‖s_base‖. Inside: share of ‖D‖² between the first k directions, relative to a random update. "
    "Stable and signal rank: of D itself."
)


def by_role(checkpoint: Checkpoint) -> Table:
    """Return one row for each role of the decoder's blocks, and one for all."""
    roles = dict.fromkeys(one.role for one in checkpoint.inner)
    rows = [_row(str(role), [one for one in checkpoint.inner if one.role == role]) for role in roles]
    rows.append(_row("all", checkpoint.inner))
    return Table(("role", *COLUMNS), tuple(rows), "l" + "r" * len(COLUMNS), (NOTE,))


def by_layer(checkpoint: Checkpoint) -> Table:
    """Return one row for each block of the decoder."""
    layers = sorted({one.layer for one in checkpoint.inner if one.layer is not None})
    rows = [_row(str(layer), [one for one in checkpoint.inner if one.layer == layer]) for layer in layers]
    return Table(("block", *COLUMNS), tuple(rows), "l" + "r" * len(COLUMNS))


def apart(checkpoint: Checkpoint) -> Table:
    """Return one row for each matrix outside of the blocks; of a role with many (a tower), one for all."""
    rows = []
    outside = [one for one in checkpoint.matrices if not one.in_block]
    for role in dict.fromkeys(one.role for one in outside):
        mine = [one for one in outside if one.role == role]
        if len(mine) > FEW:
            rows.append(_row(f"{role}: all {len(mine)}", mine))
        else:
            rows += [_row(words.visible(one.name, 60), [one]) for one in mine]
    return Table(("outside of the blocks", *COLUMNS), tuple(rows), "l" + "r" * len(COLUMNS))


def most_moved(checkpoint: Checkpoint) -> Table:
    """Return the matrices with the largest update relative to the base, with errors where a number has one."""
    order = sorted(checkpoint.moved, key=lambda one: -(one.relative or 0.0))[:SHOWN]
    rows = tuple(
        (
            words.visible(one.name, 60),
            _number(one.relative),
            *(_angle(side) for side in _sides(one)),
            _value(one),
            _number(None if one.spectrum is None else one.spectrum.stable_rank),
            words.UNKNOWN if one.spectrum is None else str(one.spectrum.signal_rank),
            words.UNKNOWN if one.intruders is None else str(one.intruders),
            one.road.replace("_", " "),
        )
        for one in order
    )
    columns = (
        "most moved", "‖D‖/‖W‖", "top left", "top right", "bottom left", "bottom right", "values", "stable rank",
        "signal rank", "intruders", "road",
    )  # fmt: skip
    note = (
        "Angles: root mean square / largest, in degrees. ±: about how far a first-order number may be off; without one "
        "it is exact. The largest angle depends on how near the singular values at the cut are to each other."
    )
    return Table(columns, rows, "l" + "r" * (len(columns) - 2) + "l", (note,))


def trajectory(diagnosis: Diagnosis) -> Table:
    """Return the drift of each checkpoint, a row each."""
    rows = tuple((words.visible(one.name, 60), *_summary(one)) for one in diagnosis.checkpoints)
    columns = (
        "checkpoint", "whole ‖D‖/‖W‖", "median ‖D‖/‖W‖", "top left × chance", "top right × chance", "values",
        "weights unmoved",
    )  # fmt: skip
    note = "Weights unmoved: share of the weights of moved matrices that rounding to the file's dtype left alone."
    return Table(columns, rows, "l" + "r" * (len(columns) - 1), (note,))


def success(diagnosis: Diagnosis) -> Table:
    """Return the success of a run at the base and at each of its checkpoints; no rows without a run."""
    suites = list(dict.fromkeys((one.suite, one.purpose) for one in diagnosis.success))
    moments = [("base", 0), *((one.name, one.step) for one in diagnosis.checkpoints if one.step is not None)]
    rows = [
        (words.visible(name, 60), *(_success(diagnosis, suite, step) for suite, _ in suites)) for name, step in moments
    ]
    columns = ("success", *(f"{suite} ({purpose})" for suite, purpose in suites))
    return Table(columns, tuple(rows) if suites else (), "l" + "r" * len(suites), ("With 95 % intervals.",))


def against(diagnosis: Diagnosis) -> Table:
    """Return how another update of the same base stands to each checkpoint's."""
    rows = []
    for checkpoint in diagnosis.checkpoints:
        roles = dict.fromkeys(one.role for one in checkpoint.inner)
        groups = [(str(role), [one for one in checkpoint.inner if one.role == role]) for role in roles]
        for name, readings in [*groups, ("all", list(checkpoint.inner))]:
            cosine, undone = pooled_undone(readings)
            rows.append((words.visible(checkpoint.name, 40), name, _number(cosine), words.percent(undone), *(
                _number(middle(readings, _likeness(side))) for side in ("left", "right")
            )))  # fmt: skip
    columns = ("A", "role", "cosine", "undone by B", "left × chance", "right × chance")
    note = (
        f"A: the checkpoint's update; B: that of {diagnosis.other}. Cosine and undone, <A, A − B> / ‖A‖², over all "
        "matrices of the row: the share of A's drift that B no longer has (below 0, B drifted on). It means that B "
        "took it back only where B went on from A. × chance: Σ sin² of the angles between the leading directions of A "
        "and of B, 1 = as random subspaces."
    )
    return Table(columns, tuple(rows), "llrrrr", (note,))


def hidden(diagnosis: Diagnosis) -> Table:
    """Return the likeness of hidden states, a row for each suite and block, of the last checkpoint."""
    rows = tuple(
        (
            one.suite,
            str(one.layer) if one.layer else "embedding",
            _interval(one.cosine.value, one.cosine.low, one.cosine.high),
            words.UNKNOWN if one.cka is None else f"{one.cka:.3f}",
            str(one.cosine.n),
        )
        for one in diagnosis.hidden
        if one.checkpoint == diagnosis.last.name
    )
    note = "At the last token of each prompt. Cosine: mean over prompts with 95 % interval; CKA: linear, debiased."
    return Table(("suite", "after block", "cosine", "CKA", "prompts"), rows, "llrrr", (note,))


def warnings(diagnosis: Diagnosis) -> list[str]:
    """Return what a reader must know before believing a number."""
    found = []
    for one in diagnosis.checkpoints:
        if one.identical == one.tensors:
            found.append(f"{one.name}: all {one.tensors} tensors are bit-identical to the base. Nothing moved.")
            continue
        forced = [x for x in one.moved if x.top and (x.top.left.forced or x.top.right.forced)]
        if forced:
            found.append(
                f"{one.name}: k is so large that {len(forced)} matrices have angles of 0 by force (first: "
                f"{forced[0].name}, {max(_forced(forced[0]))} of {forced[0].count}). Ask for fewer directions (--k)."
            )
        far = [x for x in one.moved if (rotation("top", "left")(x) or 0) > 0.9]
        if far:
            found.append(
                f"{one.name}: {len(far)} matrices turned as far as chance (first: {far[0].name}). Was it tuned from "
                f"{diagnosis.base}?"
            )
        if one.rounded is not None and one.rounded > HALF_UNCHANGED:
            found.append(
                f"{one.name}: {words.percent(one.rounded)} of the weights that training reached are where they were: "
                "smaller updates are rounded away in these files. Save float32 to see them."
            )
        rough = [x for x in one.moved if _rough(x)]
        if rough:
            found.append(
                f"{one.name}: first order is rough for {len(rough)} matrices (first: {rough[0].name}). Ask for --exact."
            )
        if one.tied:
            found.append(f"{one.name}: tied tensors are told once: {words.listed(list(one.tied))}.")
    return found


def _row(name: str, readings: Sequence[MatrixReading]) -> tuple[str, ...]:
    moved = [one for one in readings if one.norm]

    def told(quantity: Quantity) -> str:
        return _number(middle(moved, quantity))

    return (
        name,
        str(len(readings)),
        str(len(moved)),
        told(relative),
        told(lambda one: None if one.top is None else one.top.left.rms),
        told(rotation("top", "left")),
        told(lambda one: None if one.top is None else one.top.right.rms),
        told(rotation("top", "right")),
        told(value_shift),
        told(inside),
        told(stable_rank),
        told(lambda one: None if one.spectrum is None else float(one.spectrum.signal_rank)),
    )


def _summary(one: Checkpoint) -> tuple[str, ...]:
    told = (relative, rotation("top", "left"), rotation("top", "right"), value_shift)
    return (
        _number(one.relative),
        *(_number(middle(one.moved, quantity)) for quantity in told),
        words.percent(one.rounded),
    )


def _success(diagnosis: Diagnosis, suite: str, step: int | None) -> str:
    found = [one.estimate for one in diagnosis.success if (one.suite, one.step) == (suite, step)]
    return f"{words.percent(found[0].value)} {words.interval(found[0].low, found[0].high)}" if found else words.UNKNOWN


def _likeness(side: str) -> Quantity:
    def told(reading: MatrixReading) -> float | None:
        beside = reading.against
        angles = None if beside is None else beside.left if side == "left" else beside.right
        return None if angles is None else angles.of_chance

    return told


def _sides(one: MatrixReading) -> list[Angles | None]:
    return [side for end in (one.top, one.bottom) for side in ((end.left, end.right) if end else (None, None))]


def _forced(one: MatrixReading) -> tuple[int, int]:
    return (one.top.left.forced, one.top.right.forced) if one.top else (0, 0)


def _rough(one: MatrixReading) -> bool:
    return any(
        side is not None and side.rms_error is not None and side.rms_error > ROUGH * side.rms for side in _sides(one)
    )


def _angle(angles: Angles | None) -> str:
    if angles is None:
        return words.UNKNOWN
    off = "" if angles.rms_error is None else f" ± {angles.rms_error:.1g}"
    return f"{angles.rms:.3g}{off} / {angles.largest:.3g}"


def _value(one: MatrixReading) -> str:
    if one.values is None:
        return words.UNKNOWN
    off = "" if one.values.normalized_error is None else f" ± {one.values.normalized_error:.1g}"
    return f"{_number(one.values.normalized)}{off}"


def _number(value: float | None) -> str:
    """Return three significant digits, ``0.00123`` or ``1.2e-05``."""
    return words.UNKNOWN if value is None else "0" if abs(value) < NOTHING else f"{value:.3g}"


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return words.UNKNOWN if value is None else f"{value:.3f}{ends}"
