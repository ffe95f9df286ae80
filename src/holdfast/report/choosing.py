"""Of several arms and all of their moments, the one that a rule would choose.

Every rule chooses for all seeds at once, by means over seeds, among trained models only (step 0 is none):

- ``final``: no moment is chosen. The last one, of the arm with the best success on the ID suite there.
- ``id``: arm and moment with the best success on the ID suite.
- ``ood``: arm and moment with the best success on the OOD suite that is then reported. An *oracle*: nobody has it in
  practice, and the best of several noisy rates is too high.

Of a suite that is split, choosing reads the select half and tables show the other. Of equals, the one that spent the
fewest training FLOPs is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from holdfast.errors import NotRecorded
from holdfast.report.compare import Arm
from holdfast.report.contrasts import Moments, at, common_steps, mean_reading, reading_name
from holdfast.signals.reading import SELECT

By = Literal["final", "id", "ood"]
RULES: tuple[By, ...] = ("final", "id", "ood")
WORDS: dict[By, str] = {
    "final": "final (rate by ID validation)",
    "id": "best on ID validation",
    "ood": "oracle: best on OOD",
}


@dataclass(frozen=True)
class Chosen:
    """An arm at a step.

    Attributes:
        split: Whether what it was chosen by is a half that no table shows.
    """

    arm: Arm
    step: int
    split: bool

    @property
    def moments(self) -> Moments:
        """The step, for every seed."""
        return at(self.arm, self.step)


def choose(arms: Sequence[Arm], *, by: By, known: str, asked: str) -> Chosen:
    """Return the best arm and moment.

    Args:
        arms: Whose moments compete.
        by: The rule; see the module docstring.
        known: The ID suite, which ``final`` and ``id`` read.
        asked: The OOD suite, which ``ood`` reads.

    Raises:
        NotRecorded: no arm has a moment after step 0 at which all its seeds measured what the rule reads.
    """
    suite = asked if by == "ood" else known
    found = [candidate for arm in arms for candidate in _candidates(arm, suite, last_only=by == "final")]
    if not found:
        raise NotRecorded(
            f"success on {suite} is recorded for no trained moment of {', '.join(arm.name for arm in arms)}"
        )
    _, _, chosen = max(found, key=lambda one: (one[0], one[1]))
    return chosen


def _candidates(arm: Arm, suite: str, *, last_only: bool) -> Iterator[tuple[float, float, Chosen]]:
    """Yield success, thrift, and the candidate."""
    metric = f"success{SELECT}"
    split = bool(common_steps(arm, suite, metric))
    metric = metric if split else "success"
    steps = [step for step in common_steps(arm, suite, metric) if step > 0]
    for step in steps[-1:] if last_only else steps:
        value = mean_reading(arm, reading_name(suite, metric), step)
        if value is not None:
            yield value, -_flops(arm, step), Chosen(arm, step, split)


def _flops(arm: Arm, step: int) -> float:
    spent = [record.spent.get("flops", float(step)) for run in arm.measured if (record := run.record_at(step))]
    return sum(spent) / len(spent)
