"""The rows that probes ask about: some of those that are learned, and others like them that are not.

Rows that are not learned are never those that tables show. They come from one of three places:

- the environment's split ``validation``, under the rule of training, with a seed of their own (`SEED`);
- a file of rows (``path``);
- a suite of the recipe (``suite``): the demonstrations of its problems.

Of any of them only problems of the *select* half are taken, by the bit by which suites are split too
(`holdfast.evaluate.suite.half`), so a row that is also a suite's is one that a signal may see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.data.corrupted import Corrupted
from holdfast.data.encode import Encoded, encode_all
from holdfast.data.pictures import tokenizer_of
from holdfast.data.rows import read_rows
from holdfast.data.sources import EnvironmentRows, ExampleRows, Source, Twice
from holdfast.errors import DataError, UserError
from holdfast.evaluate.suite import SELECT, Suite, make, rules_in_play
from holdfast.recipe import Recipe, SuiteSpec
from holdfast.records import Example

SEED = 2_000
"""Of the held-out problems of an environment; suites begin at 1,000 and training at 0."""
TRIES = 64
"""Problems of an environment that are looked at for each row that is wanted, at most; half of them are of the half."""


class Rows(NamedTuple):
    """Rows that are asked about, the same at every moment.

    Attributes:
        encoded: In tokens.
        examples: The same as messages; empty where the source is tokens alone (answers that the model drew, pairs).
    """

    encoded: tuple[Encoded, ...]
    examples: tuple[Example, ...] = ()


def evenly(total: int, count: int) -> list[int]:
    """Return ``count`` numbers below ``total``, evenly spaced from 0; all of them if there are no more.

    Example:
        >>> evenly(10, 4)
        [0, 2, 5, 7]
    """
    count = min(count, total)
    return [place * total // count for place in range(count)]


def training_rows(source: Source, count: int) -> Rows:
    """Return rows of training, evenly spaced over the source."""
    places = evenly(len(source), count)
    return Rows(tuple(source.take(places)), tuple(_examples(source, places)))


def held_out_rows(
    recipe: Recipe, speaker: Any, count: int, *, path: str | None, suite: str | None, allow_code: bool = False
) -> Rows:
    """Return rows like those of training that are not learned; see the module for where they come from.

    Args:
        recipe: Of the run.
        speaker: Its tokenizer or processor.
        count: Rows; fewer where a file or a suite has no more in its select half.
        path: A file, or None.
        suite: A suite of the recipe, or None.
        allow_code: Whether the recipe may name outside code.

    Raises:
        UserError: there is no such suite, or the data is a file and neither is given.
        DataError: a file cannot be read, or has nothing in its select half.
    """
    asked = _suite(recipe, count, path=path, suite=suite, allow_code=allow_code)
    examples: list[Example] = []
    for example in _selected(asked):
        examples.append(example)
        if len(examples) == count:
            break
    if not examples:
        raise DataError(f"{path or suite or asked.rule}: none of its {asked.size} rows is in the select half")
    return Rows(tuple(encode_all(examples, speaker, max_length=recipe.max_length)), tuple(examples))


def text_rows(path: str, speaker: Any, count: int, *, longest: int) -> Rows:
    """Return general texts of a file, evenly spaced over it.

    Args:
        path: A ``.jsonl`` file of rows, of which the answers are asked about; any other file is plain text, parted by
            blank lines, of which all tokens are but the first.
        speaker: A tokenizer or a processor.
        count: Texts.
        longest: Tokens of a plain text; what is longer is cut.

    Raises:
        DataError: the file cannot be read, or holds no text of two tokens.
    """
    if path.endswith((".jsonl", ".json")):
        examples = read_rows(path)
        chosen = [examples[place] for place in evenly(len(examples), count)]
        return Rows(tuple(encode_all(chosen, speaker)), tuple(chosen))
    try:
        parts = [part.strip() for part in Path(path).read_text(encoding="utf-8").split("\n\n") if part.strip()]
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"cannot read the text file {path}: {fault}") from fault
    texts = [parts[place] for place in evenly(len(parts), count)] if parts else []
    ids = tokenizer_of(speaker)(texts, return_attention_mask=False, verbose=False)["input_ids"] if texts else []
    rows = tuple(Encoded(tuple(row[:longest]), 0) for row in ids if len(row) > 1)
    if not rows:
        raise DataError(f"{path} holds no text of two tokens; write texts with blank lines between them")
    return Rows(rows)


def _suite(recipe: Recipe, count: int, *, path: str | None, suite: str | None, allow_code: bool) -> Suite:
    if suite is not None:
        if suite not in recipe.suites:
            raise UserError(f"no suite {suite!r} in this recipe; there are {', '.join(recipe.suites) or 'none'}")
        spec = recipe.suites[suite]
    elif path is not None:
        spec = SuiteSpec(purpose="id", path=path, size=10**9)
    elif recipe.data.environment is None:
        raise UserError("rows of a file have no validation split of their own: give a path, or a suite")
    else:
        data = recipe.data
        spec = SuiteSpec(
            purpose="id", environment=data.environment, rule=data.rule, split="validation", seed=SEED,
            size=TRIES * count,
        )  # fmt: skip
    rules = rules_in_play(recipe, spec.environment)
    return make(
        suite or "held_out", spec, data=recipe.data, rules_in_play=rules, read_by_signal=True, allow_code=allow_code
    )


def _selected(suite: Suite) -> Iterator[Example]:
    environment = suite.environment
    for index in range(suite.size):
        problem = environment.sample(suite.rule, suite.split, index, seed=suite.seed)
        if suite.half_of(problem) != SELECT:
            continue
        for number, step in enumerate(environment.steps(problem)):
            source = f"held out {suite.rule}/{suite.split} problem {index}, question {number}"
            yield Example(environment.prompt(step), environment.demonstrate(step), source)


def _examples(source: Source, places: Sequence[int]) -> list[Example]:
    match source:
        case Corrupted():
            return _examples(source.source, places)
        case Twice():
            return _examples(source.source, [place // 2 for place in places])
        case EnvironmentRows():
            return [source.example(place) for place in places]
        case ExampleRows():
            return [source.examples[place] for place in places]
        case _:
            return []
