"""Mathematics suites by name: the five of the DFT evaluation on the hub, and problems of our own in the package.

Wu et al. 2025 (*Dynamic fine-tuning*, arXiv 2508.05629) report the mean of 16 samples a problem at temperature 1 with
at most 4096 new tokens. Their problems are the files of the Qwen2.5-Math harness; these are the public sets of the same
names, whose rows may differ in single problems. Ids, splits, columns and sizes were read in dataset cards and in
programs that load them (2026-11), not downloaded. OlympiadBench is the text-only English part; sources say 674 or 675
rows. Minerva's answers are read as they stand, without units or tolerances of their own.

``worked-math`` needs no network: forty problems of our own, ten at each ``level`` from 1 (school) to 4 (contest), with
worked solutions; ``kind`` says what form the answer has. They try out a pipeline and follow a small model; they are too
few to rank large ones.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from holdfast.data.rows import Row, read_table, rows_of
from holdfast.errors import DataError, UserError


@dataclass(frozen=True)
class MathSuite:
    """Where a suite's problems are.

    Attributes:
        source: Id on the Hugging Face hub, or the name of a file of this package.
        split: Of the data set on the hub.
        problems: How many there are.
        shipped: Whether ``source`` is a file of this package.
    """

    source: str
    split: str
    problems: int
    shipped: bool = False


MATH_SUITES: Mapping[str, MathSuite] = {
    "math-500": MathSuite("HuggingFaceH4/MATH-500", "test", 500),
    "minerva-math": MathSuite("math-ai/minervamath", "test", 272),
    "olympiadbench": MathSuite("math-ai/olympiadbench", "test", 674),
    "aime-2024": MathSuite("HuggingFaceH4/aime_2024", "train", 30),
    "amc-2023": MathSuite("math-ai/amc23", "test", 40),
    "worked-math": MathSuite("worked_math.jsonl", "test", 40, shipped=True),
}


def find_suite(path: str) -> MathSuite | None:
    """Return the suite that a recipe's ``path`` names, by our name or by its hub id; None if it names a file.

    Example:
        >>> find_suite("HuggingFaceH4/MATH-500").problems, find_suite("my.jsonl")
        (500, None)
    """
    by_id = {suite.source.lower(): suite for suite in MATH_SUITES.values() if not suite.shipped}
    return MATH_SUITES.get(path, by_id.get(path.lower()))


def read_problems(path: str) -> Sequence[Row]:
    """Return the rows of a named suite, of a file, or of the folder of a data set that was downloaded.

    Raises:
        UserError: the hub or a folder has to be read, and `datasets` is not installed.
        DataError: see `holdfast.data.rows.read_table`; or the hub cannot be reached.
    """
    suite = find_suite(path)
    place = Path(path).expanduser()
    if suite is not None and suite.shipped:
        with resources.as_file(resources.files("holdfast.evaluate") / suite.source) as file:
            return read_table(file)
    if suite is not None:
        return rows_of(_data_set(suite.source, suite.split), suite.source)
    if place.is_dir():
        return rows_of(_data_set(str(place), None), path)
    return read_table(place)


def missing(path: str) -> str | None:
    """Return what a suite needs that is not installed, in words; None if nothing."""
    suite = find_suite(path)
    remote = (suite is not None and not suite.shipped) or Path(path).expanduser().is_dir()
    if remote and importlib.util.find_spec("datasets") is None:
        return "reading a data set needs the extra data: pip install 'holdfast[data]'"
    return None


def _data_set(source: str, split: str | None) -> list[dict[str, Any]]:
    """Return the rows of a data set on the hub (its cache, if it is there) or in a folder: ``test``, or all it has."""
    needed = missing(source)
    if needed is not None:
        raise UserError(needed)
    import datasets

    try:
        found = datasets.load_dataset(source)
    except (OSError, ValueError, RuntimeError) as fault:
        raise DataError(
            f"cannot load the data set {source}: {type(fault).__name__}: {str(fault).splitlines()[0]}\n"
            "Without a network, load it once where there is one (datasets keeps it), or write the path of a .jsonl "
            "file or folder with the same columns."
        ) from fault
    wanted = split or "test"
    if wanted not in found and (split is not None or len(found) != 1):
        raise DataError(f"the data set {source} has no split {wanted}; it has {', '.join(found)}")
    part = found[wanted] if wanted in found else next(iter(found.values()))
    return [dict(row) for row in part]
