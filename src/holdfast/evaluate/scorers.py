"""How a reply to a row of the user's own file is judged.

A scorer has the signature of TRL's reward functions::

    f(prompts, completions, completion_ids=None, trainer_state=None, **columns) -> list[float | None]

``prompts`` and ``completions`` are lists of texts, or of lists of messages; each column is a list of the same length.
Beside the file's own columns there is ``answer``, the completion that the row holds (unless the file has a column of
that name). 1 or more is success; None means that the row cannot be judged and does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from holdfast import members
from holdfast.records import Message

Text = str | Sequence[Message]
Scorer = Callable[..., list[float | None]]

SCORERS = {
    "exact": "holdfast.evaluate.scorers:exact",
    "contains": "holdfast.evaluate.scorers:contains",
    "math": "holdfast.evaluate.math_answers:math",
}


def exact(
    prompts: Sequence[Text],  # noqa: ARG001  (TRL's signature)
    completions: Sequence[Text],
    completion_ids: Any = None,  # noqa: ARG001
    trainer_state: Any = None,  # noqa: ARG001
    *,
    answer: Sequence[str],
    **columns: Any,  # noqa: ARG001
) -> list[float | None]:
    """Score 1 if the reply equals the answer, white space at both ends aside.

    Example:
        >>> exact(["2 + 2?"], [" 4\\n"], answer=["4"])
        [1.0]
    """
    return [float(_text(said).strip() == right.strip()) for said, right in zip(completions, answer, strict=True)]


def contains(
    prompts: Sequence[Text],  # noqa: ARG001  (TRL's signature)
    completions: Sequence[Text],
    completion_ids: Any = None,  # noqa: ARG001
    trainer_state: Any = None,  # noqa: ARG001
    *,
    answer: Sequence[str],
    **columns: Any,  # noqa: ARG001
) -> list[float | None]:
    """Score 1 if the answer, white space at both ends aside, occurs in the reply; upper and lower case differ.

    It is lenient: ``42`` is contained in ``142``. Where that matters, use `exact` or a scorer of your own.

    Example:
        >>> contains(["2 + 2?"], ["It is 4."], answer=["4"])
        [1.0]
    """
    return [float(right.strip() in _text(said)) for said, right in zip(completions, answer, strict=True)]


def find_scorer(name: str, *, allow_code: bool = False) -> Scorer:
    """Return the scorer of a recipe's name, or an outsider's ``module:function``.

    Raises:
        UnknownName: there is no scorer of this name.
        UserError: outside code without ``allow_code``, or it cannot be imported.
    """
    scorer: Scorer = members.find("scorer", name, SCORERS, allow_code=allow_code)
    return scorer


def _text(completion: Text) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]
