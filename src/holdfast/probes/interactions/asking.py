"""Options of the probes that measure interactions: how many prompts, who plays, in which ways they are asked.

Imports no torch, so that a recipe is checked in a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from holdfast.probes.checks import check_place, check_rows

PROMPT = "{prompt}"
"""In a template, where the user's text stands; alone, the template that changes nothing."""
TEMPLATES = (PROMPT, "Task: {prompt}", "{prompt}\n\n")
"""Ways to ask the same."""
MOST_PLAYERS = 10
"""Of a probe, which is asked again and again: 1,024 outputs a prompt and template."""

Masking = Literal["token", "mean", "learned", "attention"]
"""What stands in the place of a masked word; see `holdfast.probes.interactions.masking`."""
Watched = Literal["content", "any"]
"""Which words of an answer may be targets: those that differ between answers, or those of the format too."""


@dataclass(frozen=True)
class Asking:
    """What is asked at every moment; see `holdfast.probes.interactions.probe.Interactions` for each field.

    Raises:
        ValueError: an option cannot be.
    """

    prompts: int
    players: int
    path: str | None
    suite: str | None
    templates: tuple[str, ...] = (PROMPT,)
    repeats: int = 1
    masking: Masking = "token"
    watched: Watched = "content"

    def __post_init__(self) -> None:
        check_rows(self.prompts, least=2, name="prompts")
        check_rows(self.players, least=2, name="players")
        check_rows(self.repeats, name="repeats")
        check_place(self.path, self.suite)
        if self.players > MOST_PLAYERS:
            raise ValueError(f"players must be at most {MOST_PLAYERS}, got {self.players}: outputs double with each")
        if not self.templates or any(PROMPT not in one for one in self.templates):
            raise ValueError(f"templates must be at least one, each with {PROMPT} in it, got {list(self.templates)}")
        if self.masking not in get_args(Masking) or self.watched not in get_args(Watched):
            raise ValueError(
                f"masking is one of {', '.join(get_args(Masking))}, and watched of {', '.join(get_args(Watched))}; "
                f"got {self.masking!r} and {self.watched!r}"
            )

    @property
    def halves(self) -> tuple[int, int]:
        """Prompts from training rows, and from held-out ones."""
        return self.prompts // 2, self.prompts - self.prompts // 2
