"""``drawn.jsonl``, or of replay ``replay.jsonl``: the answers that a run drew, made once, whole or absent.

Its first line tells how the drawing went and what it depended on; each further line is a question with its answers.
While answers are drawn they collect, part after part, in ``drawn.part.jsonl``, so that a run that is killed draws only
the part that it was at again. A file that depended on something else, or is damaged, counts as not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.data.fingerprint import digest
from holdfast.errors import RunFolderError
from holdfast.methods.drawn import Question, facts
from holdfast.models.durable import fsync, write_whole

Lines = list[dict[str, Any]]
"""Questions as JSON."""


@dataclass(frozen=True)
class DrawnFile:
    """The drawn answers of a run folder.

    Attributes:
        folder: Of the run.
        depends_on: What the answers are a function of, as JSON.
        name: Of the file.
        told: What its first line tells of the questions.
    """

    folder: Path
    depends_on: Mapping[str, Any]
    name: str = "drawn"
    told: Callable[[Sequence[Question]], Mapping[str, Any]] = facts

    @property
    def path(self) -> Path:
        """The whole file."""
        return self.folder / f"{self.name}.jsonl"

    @property
    def part(self) -> Path:
        """What there is of it so far."""
        return self.folder / f"{self.name}.part.jsonl"

    def read(self) -> Lines | None:
        """Return the questions; None if they have to be drawn.

        Raises:
            RunFolderError: other answers lie there, and checkpoints that learned from them.
        """
        if not self.path.is_file():
            return None
        try:
            head, *lines = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
            whole, before = head["sha256"] == digest(lines), head["depends_on"]
        except (ValueError, KeyError, TypeError):
            return None
        if before == dict(self.depends_on):
            return lines if whole else None
        if any(self.folder.glob("checkpoint-*")):
            changed = [
                f"{name} was {before.get(name)!r} and is {self.depends_on.get(name)!r}"
                for name in sorted({*before, *self.depends_on})
                if before.get(name) != self.depends_on.get(name)
            ]
            raise RunFolderError(
                f"{self.path} holds answers that were drawn otherwise, and checkpoints beside it learned from them: "
                f"{'; '.join(changed)}. Give another --output_dir"
            )
        return None

    def begin(self) -> list[Lines]:
        """Return the parts that are drawn already, and get ready to add to them."""
        parts, length = self._known()
        if not length:
            write_whole(self.part, json.dumps({"depends_on": dict(self.depends_on)}) + "\n")
        else:
            os.truncate(self.part, length)
        return parts

    def add(self, number: int, lines: Lines) -> None:
        """Add part ``number``, durably."""
        with self.part.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"part": number, "sha256": digest(lines), "questions": lines}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def finish(self, questions: Sequence[Question]) -> None:
        """Write the whole file, and remove its parts."""
        lines = [question.to_json() for question in questions]
        head = {**self.told(questions), "depends_on": dict(self.depends_on), "sha256": digest(lines)}
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in (head, *lines)))
        self.part.unlink(missing_ok=True)
        fsync(self.folder)

    def _known(self) -> tuple[list[Lines], int]:
        """Return the whole parts, and how many bytes of the file they take; 0 if the file is of no use."""
        parts: list[Lines] = []
        length = 0
        raw = self.part.read_bytes() if self.part.is_file() else b""
        for number, line in enumerate(raw.splitlines(keepends=True)):
            try:
                found = json.loads(line)
                if number == 0:
                    good = found["depends_on"] == dict(self.depends_on)
                else:
                    good = found["part"] == number - 1 and found["sha256"] == digest(found["questions"])
            except (ValueError, KeyError, TypeError):
                good = False
            if not good or not line.endswith(b"\n"):
                break
            if number:
                parts.append(found["questions"])
            length += len(line)
        return parts, length
