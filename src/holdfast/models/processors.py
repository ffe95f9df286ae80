"""The processor of a vision-language model: what turns pictures into its inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers
from transformers.utils import is_torchvision_available

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json", "chat_template.json")
"""Files that say how pictures become inputs; part of what a run depends on."""


def processor_in(folder: Path, tokenizer: Any, *, trust_remote_code: bool = False) -> Any | None:
    """Return the processor of a folder, on ``tokenizer``; None if the folder has none.

    Some processors take videos too, and that part of them needs torchvision. Without it they are loaded without that
    part: pictures work as ever.

    Raises:
        OSError, ValueError, ImportError: as Transformers does.
    """
    if not any((folder / file).is_file() for file in PROCESSOR_FILES[:2]):
        return None
    kind: Any = transformers.AutoProcessor
    if not is_torchvision_available():
        kind = _without_videos(folder) or kind
    processor = kind.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    if isinstance(processor, transformers.ProcessorMixin):
        processor.tokenizer = tokenizer
        return processor
    return None  # without a processor of its own, Transformers hands out the folder's tokenizer or image processor


def _without_videos(folder: Path) -> Any | None:
    """Return the folder's processor class with all its parts but the one for videos; None if it has no such part."""
    named = [
        json.loads(path.read_text(encoding="utf-8")) for file in PROCESSOR_FILES if (path := folder / file).is_file()
    ]
    name = next((values["processor_class"] for values in named if "processor_class" in values), "")
    known = vars(transformers.models.auto.processing_auto)["PROCESSOR_MAPPING_NAMES"].values()
    if name not in known:
        return None
    kind = getattr(transformers, name)
    parts = [part for part in kind.get_attributes() if part != "video_processor"]
    if len(parts) == len(kind.get_attributes()):
        return None
    # Under the same name, because a saved processor is found again by the name of its class.
    return type(name, (kind,), {"get_attributes": classmethod(lambda _: list(parts)), "__module__": kind.__module__})
