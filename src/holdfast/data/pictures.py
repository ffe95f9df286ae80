"""Pictures on their way into a model, without naming any: the processor that comes with the model does the work.

A processor makes two kinds of tensors. Those *along the tokens*, of shape (B, T, …), say something of each token: which
are images, which tiles a token attends to. They are made for the prompts, go on for the tokens that follow as for the
prompt's last one (text, after all pictures), and are 0 on padding. All others (pixels, grids, aspect ratios) are of the
pictures alone and are taken as they come. Pictures are drawn here, for one batch at a time, and not kept.

Torch and Transformers are imported where they are called, because recipes are checked without them.

Shapes: ``B`` rows of a batch, ``T`` tokens of its longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.errors import DataError
from holdfast.records import Picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


@dataclass(frozen=True)
class Pictured:
    """The prompt of a row as a processor takes it.

    Attributes:
        text: As the chat template writes it, with one placeholder a picture.
        pictures: In the order of the placeholders; there may be none.
        processor: Of Transformers.
    """

    text: str
    pictures: tuple[Picture, ...]
    processor: Any = field(compare=False, repr=False)

    def token_ids(self) -> list[int]:
        """Return the prompt's tokens, each placeholder widened to the tokens that its picture takes.

        How many these are depends on a picture's size alone, so blank pictures stand in for it.

        Raises:
            DataError: the processor refuses: the text has more or fewer placeholders than there are pictures.
        """
        return list(_token_ids(self.processor, self.text, tuple(picture.size for picture in self.pictures)))


@lru_cache(maxsize=1024)
def _token_ids(processor: Any, text: str, sizes: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """Kept, because the prompts of an environment often differ in their pictures' pixels alone."""
    from PIL import Image

    ids_1T: Tensor = _processed(processor, [text], [[Image.new("RGB", size) for size in sizes]])["input_ids"]
    return tuple(int(token) for token in ids_1T[0].tolist())


class Span(NamedTuple):
    """Where a row's tokens are in a padded batch: ``[start, end)``, the prompt's first."""

    start: int
    end: int


def processor_of(speaker: Any) -> Any | None:
    """Return ``speaker`` if it is a processor, None if it is a plain tokenizer."""
    from transformers import ProcessorMixin

    return speaker if isinstance(speaker, ProcessorMixin) else None


def tokenizer_of(speaker: Any) -> Any:
    """Return the tokenizer of a processor, or ``speaker`` itself."""
    processor = processor_of(speaker)
    return speaker if processor is None else processor.tokenizer


def image_inputs(
    prompts: Sequence[Pictured | None], prompt_ids: Sequence[Sequence[int]], spans: Sequence[Span], *, width: int
) -> dict[str, Tensor]:
    """Return what the model takes beside tokens, by name; nothing if no row has a picture.

    Args:
        prompts: One a row; None for a row that was encoded without a processor.
        prompt_ids: `Pictured.token_ids` of each.
        spans: Where each row lies in the batch.
        width: T.

    Raises:
        DataError: the processor refuses, or rows with pictures stand beside rows without any where the model cannot
            tell them apart.
    """
    if not any(prompt is not None and prompt.pictures for prompt in prompts):
        return {}
    known = [prompt for prompt in prompts if prompt is not None]
    if len(known) != len(prompts):
        raise DataError("a batch has rows with pictures and rows that were encoded without the model's processor")
    drawn = [[picture.render() for picture in prompt.pictures] for prompt in known]
    made = _processed(known[0].processor, [prompt.text for prompt in known], drawn)
    ids_BT = made.pop("input_ids")
    made.pop("attention_mask")
    for number, own in enumerate(prompt_ids):
        if ids_BT[number, : len(own)].tolist() != list(own):
            raise DataError(
                f"row {number} of a batch: the processor turns its prompt into other tokens than it did for blank "
                f"pictures of the same size; {type(known[0].processor).__name__} cannot be used"
            )
    bare = [number for number, prompt in enumerate(known) if not prompt.pictures]
    for name, value in made.items():
        if bare and value.ndim > 2 and value.shape[:2] == ids_BT.shape:
            raise DataError(
                f"rows {bare} of a batch have no picture and others do, but the model attends to pictures apart from "
                f"the text ({name}), so that the former would be computed otherwise than alone. Use data in which all "
                "rows have pictures, or none, or write per_device_train_batch_size: 1 and per_device_eval_batch_size: 1"
            )
    lengths = [len(own) for own in prompt_ids]
    return {
        name: _placed(value, lengths, spans, width) if value.shape[:2] == ids_BT.shape else value
        for name, value in made.items()
    }


def _placed(value_BT: Tensor, lengths: Sequence[int], spans: Sequence[Span], width: int) -> Tensor:
    """Move what was made for right-padded prompts to where the rows are; see the module for what follows a prompt."""
    placed_BT = value_BT.new_zeros((len(spans), width, *value_BT.shape[2:]))
    for number, (length, span) in enumerate(zip(lengths, spans, strict=True)):
        placed_BT[number, span.start : span.start + length] = value_BT[number, :length]
        placed_BT[number, span.start + length : span.end] = value_BT[number, length - 1]
    return placed_BT


def _processed(processor: Any, texts: list[str], images: list[list[Image]]) -> dict[str, Any]:
    """Run the processor on right-padded texts that already hold their special tokens, as chat templates write them."""
    import torch

    try:
        made = processor(
            text=texts,
            images=images if any(images) else None,
            padding=True,
            padding_side="right",
            add_special_tokens=False,
            return_tensors="pt",
        )
    except (ValueError, IndexError, TypeError) as fault:
        pictures = ", ".join(str(len(own)) for own in images[:8])
        raise DataError(
            f"{type(processor).__name__} refuses prompts with {pictures} pictures: {fault}. Its chat template must "
            "write one placeholder for each picture, and the text none"
        ) from fault
    plain = [name for name, value in made.items() if not isinstance(value, torch.Tensor)]
    if plain:
        raise DataError(f"{type(processor).__name__} makes {', '.join(plain)}, which is no tensor")
    return dict(made)
