"""The order of rows, and the tensors that a model takes.

The endless stream of row numbers is a pure function of (seed, epoch, place): see `holdfast.data.order`. Steps cut it
into pieces of constant size; a step may span two epochs, so no row is dropped and no batch is short. Which rows a step
reads depends neither on what was read before nor on any global random state.

Shapes: ``B`` rows of a micro-batch, ``T`` tokens of its longest row.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from holdfast.data.encode import Encoded
from holdfast.data.order import epoch_length, places_of_all, rows_of_epoch
from holdfast.data.pictures import Span, image_inputs
from holdfast.data.prefixes import Prefixes, shared_prefixes, worthwhile
from holdfast.data.sources import Source
from holdfast.errors import DataError

SharePrefixes = Literal["auto", "always", "never"]

IGNORED = -100
"""Label of a position without loss, as in Transformers."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch under the names that Transformers models take; right-padded.

    Attributes:
        input_ids: (B, T), int64.
        attention_mask: (B, T), int64: 1 on tokens, 0 on padding.
        labels: (B, T), int64: the token itself where it is learned, -100 elsewhere; not shifted.
        row_numbers: Number of each row in its source, shape (B,) as a tuple.
        rows: The rows themselves: their pictures are drawn when `tensors` is asked for.
        prefixes: Which beginnings the rows compute only once; None where each row computes all of its own. The padded
            tensors are the same either way.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    row_numbers: tuple[int, ...] = ()
    rows: tuple[Encoded, ...] = ()
    prefixes: Prefixes | None = None

    @property
    def n_targets(self) -> int:
        """Number of tokens that carry loss; a row's first token never does, for nothing predicts it."""
        return int((self.labels[:, 1:] != IGNORED).sum())

    @property
    def n_tokens(self) -> int:
        """Number of tokens without padding."""
        return int(self.attention_mask.sum())

    @property
    def n_computed(self) -> int:
        """Number of tokens with padding: what the model computes."""
        return self.input_ids.numel() if self.prefixes is None else self.prefixes.computed

    def tensors(self) -> dict[str, Tensor]:
        """Return what the model and the objective take, by name, the inputs of the rows' pictures among them."""
        return {**self.token_tensors(), **self._image_inputs()}

    def token_tensors(self) -> dict[str, Tensor]:
        """Return `tensors` without the inputs of pictures: all that a count of FLOPs reads, without drawing any."""
        padded = {"input_ids": self.input_ids, "attention_mask": self.attention_mask, "labels": self.labels}
        if self.prefixes is None:
            return padded
        # On the CPU wherever the rows are: they say shapes (`holdfast.models.shared_prefix.KEYS`).
        return padded | {
            "prefix_of_row": torch.tensor(self.prefixes.of_row),
            "prefix_length": torch.tensor(self.prefixes.length),
        }

    def _image_inputs(self) -> dict[str, Tensor]:
        if not any(row.pictures for row in self.rows):
            return {}
        made = image_inputs(
            [row.pictured for row in self.rows],
            [row.prompt_ids for row in self.rows],
            [Span(0, len(row.input_ids)) for row in self.rows],
            width=self.input_ids.shape[1],
        )
        return {name: value.to(self.input_ids.device) for name, value in made.items()}

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on ``device``."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            labels=self.labels.to(device),
        )


def collate(rows: Sequence[Encoded], *, pad_token_id: int, row_numbers: Sequence[int] = ()) -> Batch:
    """Pad rows on the right into one batch.

    Args:
        rows: At least one.
        pad_token_id: Stands where the attention mask is 0; any token will do.
        row_numbers: Kept on the batch.
    """
    longest = max(len(row.input_ids) for row in rows)
    input_ids_BT = torch.full((len(rows), longest), pad_token_id, dtype=torch.int64)
    attention_mask_BT = torch.zeros((len(rows), longest), dtype=torch.int64)
    labels_BT = torch.full((len(rows), longest), IGNORED, dtype=torch.int64)
    for number, row in enumerate(rows):
        ids_T, length = torch.tensor(row.input_ids, dtype=torch.int64), len(row.input_ids)
        input_ids_BT[number, :length] = ids_T
        attention_mask_BT[number, :length] = 1
        labels_BT[number, row.n_prompt : length] = ids_T[row.n_prompt :]
    return Batch(input_ids_BT, attention_mask_BT, labels_BT, tuple(row_numbers), tuple(rows))


def example_with_pictures(source: Source) -> dict[str, Tensor] | None:
    """Return what a model takes of the first row with pictures, of shape (1, T) along its tokens; None if all is text.

    What `holdfast.models.counting.cost` needs to price pictures.
    """
    row = source.pictured()
    if row is None:
        return None
    tensors = collate([row], pad_token_id=0).tensors()
    return {name: value for name, value in tensors.items() if name != "labels"}


@functools.lru_cache(maxsize=256)
def _shared(rows: tuple[Encoded, ...]) -> Prefixes:
    """Remembered, because a plan asks for the batches of every process, and each asks about the whole step."""
    return shared_prefixes(rows)


class Batches:
    """Micro-batches of a run, step after step, without end.

    With several processes each step's rows are dealt out in P runs of equal length, so that the step as a whole reads
    the same rows as one process with P times the rows would, and rows of a problem stay together.

    Args:
        source: The rows.
        seed: Of the order.
        per_device_train_batch_size: Rows of a micro-batch of one process.
        gradient_accumulation_steps: Micro-batches of a step of one process.
        pad_token_id: See `collate`.
        process_index, num_processes: Place among data-parallel processes.
        share_prefixes: Whether rows of a micro-batch compute a common beginning once: ``auto`` in the steps where that
            pays (`holdfast.data.prefixes.worthwhile`). Steps with pictures never share.

    Raises:
        DataError: the source is empty.
    """

    def __init__(
        self,
        source: Source,
        *,
        seed: int,
        per_device_train_batch_size: int,
        gradient_accumulation_steps: int = 1,
        pad_token_id: int = 0,
        process_index: int = 0,
        num_processes: int = 1,
        share_prefixes: SharePrefixes = "never",
    ) -> None:
        if not len(source):
            raise DataError("there are no rows to learn from")
        self.source, self.seed = source, seed
        self._rows, self._micro_batches = per_device_train_batch_size, gradient_accumulation_steps
        self._pad, self._process, self._processes = pad_token_id, process_index, num_processes
        self._epoch, self._index = 0, 0
        self._share = share_prefixes
        self._read: tuple[int, Sequence[int]] | None = None

    @property
    def rows_per_step(self) -> int:
        """Rows of one step over all processes."""
        return self._rows * self._micro_batches * self._processes

    @property
    def cursor(self) -> dict[str, int]:
        """Where the next step begins, as JSON values: ``epoch``, and ``index`` of the first unread row in it."""
        return {"epoch": self._epoch, "index": self._index}

    def seek(self, cursor: Mapping[str, int]) -> None:
        """Go to a place that `cursor` named.

        Raises:
            DataError: there is no such place in this source.
        """
        epoch, index = int(cursor["epoch"]), int(cursor["index"])
        if epoch < 0 or not 0 <= index < epoch_length(self.source):
            raise DataError(f"no place (epoch {epoch}, index {index}) in epochs of {epoch_length(self.source)} rows")
        self._epoch, self._index = epoch, index

    def next_step(self) -> list[Batch]:
        """Return the micro-batches of the next optimizer step, this process's share, and move on."""
        numbers, self._epoch, self._index = self._ahead(self.rows_per_step)
        cuts = [numbers[at : at + self._rows] for at in range(0, len(numbers), self._rows)]
        own = slice(self._process * self._micro_batches, (self._process + 1) * self._micro_batches)
        return [
            replace(collate(self.source.take(cut), pad_token_id=self._pad, row_numbers=cut), prefixes=shared)
            for cut, shared in zip(cuts[own], self._prefixes(cuts)[own], strict=True)
        ]

    def _prefixes(self, cuts: Sequence[Sequence[int]]) -> Sequence[Prefixes | None]:
        """Return what the micro-batches of a step, of all processes, share."""
        nothing = [None] * len(cuts)
        if self._share == "never":
            return nothing
        rows = [tuple(self.source.take(cut)) for cut in cuts]
        if any(row.pictures for some in rows for row in some):
            return nothing
        found = [_shared(some) for some in rows]
        return found if self._share == "always" or worthwhile(found) else nothing

    def prepare(self, steps: int) -> None:
        """Read the rows of the next ``steps`` steps ahead, in bulk, so that none is made between steps.

        Raises:
            DataError: one of these rows cannot be encoded.
        """
        numbers, _, _ = self._ahead(min(steps * self.rows_per_step, places_of_all(self.source)))
        self.source.take(list(dict.fromkeys(numbers)))

    def _ahead(self, count: int) -> tuple[list[int], int, int]:
        """Return the next ``count`` row numbers and the place after them."""
        numbers: list[int] = []
        epoch, index = self._epoch, self._index
        while len(numbers) < count:
            whole = self._order(epoch)
            part = whole[index : index + count - len(numbers)]
            numbers += part
            index += len(part)
            if index == len(whole):
                epoch, index = epoch + 1, 0
        return numbers, epoch, index

    def _order(self, epoch: int) -> Sequence[int]:
        """Return the row numbers of an epoch, those of the last one asked for remembered."""
        if self._read is None or self._read[0] != epoch:
            self._read = (epoch, rows_of_epoch(self.source, seed=self.seed, epoch=epoch))
        return self._read[1]
