"""The exceptions of holdfast, one tree.

::

    HoldfastError                  everything that we raise on purpose
    ├── UserError                  the user can fix it; the command line prints it without a traceback and exits with 2
    │   ├── RecipeError            a recipe has faults; all of them at once
    │   ├── UnknownName            a name that no table holds ("did you mean ...?")
    │   ├── ModelError             a model cannot be found, loaded, or told apart into roles
    │   │   ├── ModelNotFound
    │   │   └── UnknownRole        a module whose role cannot be told: a wrong role is worse than a refusal
    │   ├── SelectionError         nothing selected, or a pattern that matches nothing
    │   ├── DataError              a data file or row is unusable; names file and line
    │   ├── RunFolderError         a run folder cannot be written, or holds a different run
    │   └── NotRecorded            a reading that was asked for is not in the record
    ├── CheckpointError            a checkpoint is incomplete, damaged, or does not fit
    ├── NonFiniteLoss              training produced NaN or infinity; nothing was saved over good state
    ├── FrozenWeightMoved          a weight that was to stay frozen differs from the base after training
    ├── OtherRankFailed            another process of the job failed and said why; this one only ends with it
    └── UnverifiableDemonstration  an environment's own demonstration is not CORRECT: a bug in the environment
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class HoldfastError(Exception):
    """Everything that holdfast raises on purpose."""


class UserError(HoldfastError):
    """A mistake the user can fix. The command line prints it without a traceback and exits with 2."""


class Fault(NamedTuple):
    """One fault of a recipe: where, what is wrong, and how to mend it."""

    where: str
    problem: str
    fix: str = ""


class RecipeError(UserError):
    """A recipe has faults; ``faults`` holds all of them.

    Args:
        source: File name, or another word for where the recipe came from.
        faults: At least one fault.
    """

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.source = source
        self.faults = tuple(faults)
        many = "1 problem" if len(self.faults) == 1 else f"{len(self.faults)} problems"
        lines = [f"{source} has {many}"]
        for fault in self.faults:
            lines.append(f"  {fault.where}: {fault.problem}" if fault.where else f"  {fault.problem}")
            if fault.fix:
                lines.append(f"      {fault.fix}")
        lines.append("Nothing was loaded or written.")
        super().__init__("\n".join(lines))


class UnknownName(UserError):
    """A name that no table holds. ``fault`` carries the same words for a recipe's list of faults."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        self.kind, self.name, self.known = kind, name, tuple(choices)
        self.problem = f"no such {kind}: {name!r}"
        self.fix = did_you_mean(name, choices)
        super().__init__(f"{self.problem}. {self.fix}")


class ModelError(UserError):
    """A model cannot be used."""


class ModelNotFound(ModelError):
    """A model name is neither shipped, nor a folder, nor reachable on the hub."""


class UnknownRole(ModelError):
    """A module's role cannot be told from the structure of the model."""


class SelectionError(UserError):
    """A selection selects nothing, or one of its patterns matches nothing."""


class DataError(UserError):
    """A data file or row is unusable; the message names file and line."""


class RunFolderError(UserError):
    """A run folder cannot be written, or already holds a different run."""


class NotRecorded(UserError):
    """A reading that a signal or a report asks for is not in the record."""


class CheckpointError(HoldfastError):
    """A checkpoint is incomplete, damaged, or does not fit the run."""


class NonFiniteLoss(HoldfastError):
    """Training produced NaN or infinity. Nothing was saved over good state."""


class FrozenWeightMoved(HoldfastError):
    """A weight that was to stay frozen differs from the base after training."""


class OtherRankFailed(HoldfastError):
    """Another process of the job failed. It said why itself; this one only ends with it."""


class UnverifiableDemonstration(HoldfastError):
    """An environment's own demonstration does not verify as CORRECT: a bug in the environment."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the nearest known name as a question, then the whole choice.

    Example:
        >>> did_you_mean("attenion", ["attention", "mlp"])
        'Did you mean "attention"? Known: attention, mlp.'
    """
    choices = sorted(known)
    near = difflib.get_close_matches(name.lower(), choices, n=1, cutoff=0.6)
    question = f'Did you mean "{near[0]}"? ' if near else ""
    return f"{question}Known: {', '.join(choices)}." if choices else question.strip()
