"""The paper's table 1 with what was measured: parameters, steps, FLOPs, speed, memory, time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from holdfast.report import words
from holdfast.report.compare import Arm
from holdfast.report.groups import Section
from holdfast.report.run_data import RunData
from holdfast.report.sections.base import Part
from holdfast.report.tables import Table

COLUMNS = (
    "arm", "seeds", "trainable", "of all", "steps", "FLOPs, exact", "6·N·D", "6·trainable·D", "planned", "tokens/s",
    "peak memory", "training", "moments",
)  # fmt: skip


def part(section: Section) -> Part | None:
    """Tabulate what each arm trained and spent, means over seeds."""
    arms = [arm for arm in section.arms if arm.measured]
    if not arms:
        return None
    note = (
        "Trainable parameters × steps × FLOPs, the paper's table 1, with every way of counting. Planned: measured "
        "over planned exact FLOPs. Tokens a second, memory (of the accelerator, else of the process) and times are "
        "those of the machine it ran on, with whatever else ran there."
    )
    return Part(
        "What each arm trained and spent", tables=[Table(COLUMNS, tuple(map(_row, arms)), "l" + "r" * 12, (note,))]
    )


def _row(arm: Arm) -> tuple[str, ...]:
    trainable = arm.runs[0].plan.get("trainable") or {}
    learned, total = trainable.get("n_trainable"), trainable.get("n_parameters")
    spent = {name: _mean(arm, _spent(name)) for name in ("flops", "flops_6nd", "flops_trainable")}
    planned = _mean(arm, lambda run: run.plan.get("flops_total"))
    memory = _mean(arm, _result("peak_accelerator_bytes")) or _mean(arm, _result("peak_memory_bytes"))
    flops = spent["flops"]
    return (
        arm.name,
        str(len(arm.measured)),
        words.amount(learned),
        words.percent(learned / total) if learned and total else words.UNKNOWN,
        words.UNKNOWN if (steps := _mean(arm, lambda run: run.records[-1].step)) is None else f"{steps:.0f}",
        *(words.power_of_ten(value) for value in spent.values()),
        words.UNKNOWN if not planned or flops is None else f"{flops / planned:.3f}",
        words.amount(_mean(arm, _speed)),
        words.UNKNOWN if memory is None else f"{memory / 1e9:.2f} GB",
        *(words.seconds(_mean(arm, _result(name))) for name in ("train_seconds", "measure_seconds")),
    )


def _spent(name: str) -> Callable[[RunData], float | None]:
    return lambda run: run.records[-1].spent.get(name)


def _result(name: str) -> Callable[[RunData], float | None]:
    return lambda run: run.result.get(name)


def _speed(run: RunData) -> float | None:
    """Return tokens a second of the whole training, or the median of those logged."""
    whole: float | None = run.result.get("tokens_per_second")
    if whole is not None:
        return whole
    told = sorted(value for line in run.metrics if (value := line.get("tokens_per_second")) is not None)
    return told[len(told) // 2] if told else None


def _mean(arm: Arm, of: Callable[[RunData], float | None]) -> float | None:
    known: Sequence[float] = [value for run in arm.measured if (value := of(run)) is not None]
    return sum(known) / len(known) if known else None
