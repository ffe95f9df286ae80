"""Write the generated parts of the docs: `docs/cli.md`, what every verb's ``--help`` prints.

    make docs

``tests/test_docs.py`` fails when the file is stale.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VERBS = ("init", "plan", "train", "eval", "study", "report", "pretrain", "env")
HERE = Path(__file__).parent


def reference() -> str:
    """Return the text of ``docs/cli.md``."""
    parts = ["# Command line\n\n*Written by `make docs` from `--help`.*\n"]
    for words in ((), *((verb,) for verb in VERBS)):
        parts.append(f"\n## {' '.join(('holdfast', *words))}\n\n```\n{_help(words)}\n```\n")
    return "".join(parts)


def _help(words: tuple[str, ...]) -> str:
    plain = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100", "TERMINAL_WIDTH": "100"}
    command = [str(Path(sys.executable).parent / "holdfast"), *words, "--help"]
    printed = subprocess.run(command, capture_output=True, text=True, env=plain, check=True).stdout
    return "\n".join(line.rstrip() for line in printed.strip().splitlines())


if __name__ == "__main__":
    (HERE / "cli.md").write_text(reference(), encoding="utf-8")
