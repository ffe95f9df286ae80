"""One recipe, one run: ``run(recipe, folder=...)``; ``story.py`` tells it, ``observer.py`` watches and writes."""

from holdfast.run.observer import read_records, read_result
from holdfast.run.story import RunResult, run

__all__ = ["RunResult", "read_records", "read_result", "run"]
