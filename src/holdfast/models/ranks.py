"""The processes of one job, called ranks: who we are among them, and a way to tell the others something in JSON.

One rule keeps them from waiting for each other in vain: what can fail on some ranks only runs inside `Ranks.together`
(or `on_main`, `dealt`), which tells a fault to all. An error elsewhere ends its process, and the launcher (`torchrun`,
`accelerate launch`, `srun --kill-on-bad-exit`) ends the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from holdfast.errors import OtherRankFailed

TOLD = "All ranks of the job were told."
"""Note on an error that others have heard of, so that they are told once."""

Work = TypeVar("Work")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Ranks:
    """This process's place among ``count`` ranks. `ALONE` is a job of one process, which needs nobody's answer.

    With several ranks every method is called by all of them, in the same order.

    Attributes:
        index: Ours, from 0.
        count: Ranks of the job.
    """

    index: int = 0
    count: int = 1

    @staticmethod
    def here() -> Ranks:
        """Return our place in torch's default process group; `ALONE` where there is none."""
        if not (dist.is_available() and dist.is_initialized()):
            return ALONE
        return Ranks(dist.get_rank(), dist.get_world_size())

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that reads and writes the run folder."""
        return self.index == 0

    def gathered(self, value: Any) -> list[Any]:
        """Return every rank's ``value``, in the order of ranks; None travels at no cost.

        Raises:
            OtherRankFailed: another rank left its work with an error (see `together`).
        """
        return [value] if self.count == 1 else self._exchanged(value)

    def told(self, value: Any) -> Any:
        """Return the main rank's ``value``, whatever the others gave."""
        return self.gathered(value if self.is_main else None)[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """End inside on every rank, or fail on every rank: at its end one waits for the others. Blocks may be nested.

        Raises:
            OtherRankFailed: the block ended here and failed elsewhere; the failing rank raises its own error.
        """
        try:
            yield
        except Exception as fault:
            if self.count > 1 and not _was_told(fault):
                fault.add_note(TOLD)
                self._exchanged(None, fault=f"rank {self.index}: {type(fault).__name__}: {fault}")
            raise
        self.gathered(None)

    def on_main(self, action: Callable[[], Any]) -> Any:
        """Return on every rank what ``action`` returned on the main one (JSON values, where there are several)."""
        value = None
        with self.together():
            if self.is_main:
                value = action()
        return self.told(value)

    def dealt(self, works: Sequence[Work], do: Callable[[Work], Found]) -> list[Found]:
        """Return ``[do(work) for work in works]``, each done by one rank: the k-th by rank k modulo ``count``.

        ``do`` returns JSON values where there are several ranks.
        """
        if self.count == 1:
            return [do(work) for work in works]
        own: list[tuple[int, Found]] = []
        with self.together():
            own = [(number, do(works[number])) for number in range(self.index, len(works), self.count)]
        done = {number: found for part in self.gathered(own) for number, found in part}
        return [done[number] for number in range(len(works))]

    def _exchanged(self, value: Any, *, fault: str | None = None) -> list[Any]:
        """Send a value or a fault to all; every exchange has this form, so a fault is heard wherever one waits."""
        device = _device()
        words = b"" if value is None and fault is None else json.dumps([value, fault]).encode()
        mine = torch.tensor([len(words)], dtype=torch.int64, device=device)
        sizes = [torch.zeros_like(mine) for _ in range(self.count)]
        dist.all_gather(sizes, mine)
        heard: list[tuple[Any, str | None]] = []
        for rank, size in enumerate(int(size) for size in sizes):
            letters = torch.empty(size, dtype=torch.uint8, device=device)
            if size and rank == self.index:
                letters.copy_(torch.frombuffer(bytearray(words), dtype=torch.uint8))
            if size:
                dist.broadcast(letters, src=rank)
            heard.append(tuple(json.loads(letters.cpu().numpy().tobytes())) if size else (None, None))
        faults = [words for _, words in heard if words is not None]
        if faults and fault is None:
            raise OtherRankFailed("; ".join(faults))
        return [value for value, _ in heard]


ALONE = Ranks()
"""A job of one process."""


def _was_told(fault: BaseException | None) -> bool:
    """Whether all ranks know of a fault, or of the one that it came from."""
    while fault is not None:
        if isinstance(fault, OtherRankFailed) or TOLD in vars(fault).get("__notes__", ()):
            return True
        fault = fault.__cause__ or fault.__context__
    return False


def _device() -> torch.device:
    if "nccl" not in dist.get_backend():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())
