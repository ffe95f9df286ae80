"""A model's structure without its weights: an 11-billion-parameter plan needs no memory and no weight file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import ModelError
from holdfast.models.find import exposure, find
from holdfast.models.load import fetch

SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True)
class Skeleton:
    """What can be known of a model without reading its weights.

    Attributes:
        model: On the meta device: shapes, modules, ties, no values.
        config: Its Transformers configuration.
        tokenizer: As it lies in the folder.
        processor: Of an image-text model, on the same tokenizer; None for a text model, or if the folder has none.
        exposure: What the base has seen in pre-training; None if unknown.
        stored: Name of the dtype of the files, for example ``"bfloat16"``.
    """

    model: Any
    config: Any
    tokenizer: Any
    processor: Any | None
    exposure: Mapping[str, Any] | None
    stored: str

    @property
    def speaker(self) -> Any:
        """What turns conversations into inputs: the processor where there is one, else the tokenizer."""
        return self.tokenizer if self.processor is None else self.processor


def skeleton(name: str, *, revision: str | None = None, attn_implementation: str | None = None) -> Skeleton:
    """Return the structure of a shipped base, a folder or a hub model (of which only small files are downloaded).

    Raises:
        ModelNotFound: there is nothing of this name, or it cannot be reached.
        ModelError: its configuration cannot be used.
    """
    import torch
    import transformers

    from holdfast.models.processors import processor_in

    folder = _small_files(name, revision)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            kind = _auto_class(config)
            model = kind.from_config(config, attn_implementation=attn_implementation).eval()
        seeing = kind is transformers.AutoModelForImageTextToText
        processor = processor_in(folder, tokenizer) if seeing else None
    except (OSError, ValueError, KeyError, ImportError, TypeError) as fault:
        raise ModelError(f"model {name!r} in {folder} cannot be planned: {type(fault).__name__}: {fault}") from fault
    stored = str(config.dtype or "float32").removeprefix("torch.")
    return Skeleton(model, config, tokenizer, processor, exposure(folder), stored)


def _small_files(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    place = find(name)
    if isinstance(place, Path):
        return place
    try:
        small = snapshot_download(place, revision=revision, allow_patterns=SMALL_FILES, ignore_patterns=["*/*"])
        return Path(small)
    except (HfHubHTTPError, OSError):
        return fetch(name, revision=revision)  # fails as well, and says why in words


def _auto_class(config: Any) -> Any:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    known = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(config.model_type, ())
    names = (known,) if isinstance(known, str) else known
    image_text = any(name in names for name in config.architectures or ())
    return transformers.AutoModelForImageTextToText if image_text else transformers.AutoModelForCausalLM
