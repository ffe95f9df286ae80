"""A folder that is written beside models: refused, whole, or absent, and never one of the models itself."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import UserError
from holdfast.models.durable import appearing, fsync_tree, remove_litter
from holdfast.models.load import TOKENIZER_FILES
from holdfast.models.processors import PROCESSOR_FILES

MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "exposure.json",
    *TOKENIZER_FILES,
    *PROCESSOR_FILES,
    "video_preprocessor_config.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
"""What stands beside the weights of a model and says what they are: small files of known names, no code, no pickle."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Faults of the place that is written to, whatever file they are told of."""


@contextmanager
def publishing(out: Path, *, sources: tuple[Path, ...], room: int) -> Iterator[Path]:
    """Yield a private folder that takes the name ``out`` in one rename, once everything in it is durable.

    A killed process leaves ``.tmp-<name>-<pid>`` beside it, which the next one removes.

    Args:
        out: Must not exist, or be an empty folder. Folders above it are made.
        sources: Models that are read meanwhile.
        room: Bytes that are to be written, for a refusal in time.

    Raises:
        UserError: the place is taken, it is a source or lies inside one, or the disk has no room. The sources are
            untouched, and nothing is left.
    """
    place = _checked(out, sources)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_litter(place.parent, of=place.name)
        free = shutil.disk_usage(place.parent).free
        if free < room:
            raise UserError(f"heal: {out} needs {_size(room)}, and {_size(free)} are free there. Nothing was written.")
        with appearing(place) as private:
            yield private
            fsync_tree(private)
    except OSError as fault:
        what = fault.strerror or str(fault)
        where = out if fault.errno in FULL or fault.filename is None else fault.filename
        raise UserError(f"heal: {where}: {what[:1].lower()}{what[1:]}. Nothing was left at {out}.") from fault


def copy_model_files(source: Path, folder: Path) -> None:
    """Copy configuration, tokenizer, processor, chat template and exposure card of a model, as they are."""
    for name in MODEL_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _checked(out: Path, sources: tuple[Path, ...]) -> Path:
    place = out.expanduser().resolve()
    for source in (path.resolve() for path in sources):
        if place == source or source in place.parents:
            inside = "is" if place == source else "lies inside"
            raise UserError(f"heal: {out} {inside} a model that is read ({source}); choose another folder")
    if place.exists() and not place.is_dir():
        raise UserError(f"heal: {out} is a file; choose another folder")
    if place.is_dir() and any(place.iterdir()):
        raise UserError(f"heal: {out} exists and is not empty; choose another folder, or remove it")
    return place


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.2f} MB"
