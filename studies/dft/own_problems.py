"""Write the problems of ``math.yaml``: our own, in the columns in which mathematics is published.

    python studies/dft/own_problems.py FOLDER

Expressions of one to four signs under the usual order of operations, worked out in sentences with the result in a box;
``train.jsonl`` has 400 rows and ``test.jsonl`` 100 others.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from holdfast.environments.arithmetic.environment import Arithmetic

SIZES = {"train": 400, "test": 100}


def rows(split: str) -> list[dict[str, object]]:
    """Return the rows of a split."""
    world = Arithmetic(prompt_style="terse", style="sentences", solution="any")
    found: list[dict[str, object]] = []
    for index in range(SIZES[split]):
        problem = world.sample("times_first", split, index, seed=0)
        told = world.demonstrate(problem)
        answer = told.rstrip(".").split()[-1]
        (message,) = world.prompt(problem)
        found.append(
            {
                "problem": message["content"],
                "solution": f"{told} $\\boxed{{{answer}}}$",
                "answer": answer,
                "level": problem.facts["level"],
            }
        )
    return found


def main(folder: Path) -> None:
    """Write both files."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in SIZES:
        text = "".join(json.dumps(row) + "\n" for row in rows(split))
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
