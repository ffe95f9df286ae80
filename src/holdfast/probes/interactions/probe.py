"""The interactions of a run's prompts at a moment, and what became of them since its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.probes.base import Need, Reading
from holdfast.probes.interactions.asking import TEMPLATES, Asking, Masking, Watched

if TYPE_CHECKING:
    from holdfast.probes.scene import Scene

PREFIX = "interactions_"
TOLD = (
    "balance", "past_best", "boundary", "reliable_ratio", "removed", "removed_unreliable", "emerged",
    "emerged_reliable", "emerged_unreliable", "removal", "gamma_preserved", "gamma_emerged", "stable_preserved",
    "stable_emerged", "rho_preserved", "rho_emerged", "rho_removed", "order_preserved", "order_emerged",
    "order_removed", "preserved_count", "emerged_count", "removed_count", "turnover", "noise_turnover",
    "template_turnover", "strength", "mean_order", "high_order", "evidence", "sparsity", "fit", "loss_model",
    "loss_preserved", "noise", "stable_balance", "stable_past_best", "stable_boundary", "stable_reliable_ratio",
    "stable_removed_unreliable", "stable_emerged_reliable", "stable_emerged_unreliable", "gamma_preserved_chance",
    "gamma_emerged_chance", "stable_preserved_chance", "stable_emerged_chance",
)  # fmt: skip
"""What is written into records; intervals, floors and more lie beside them in what is kept of each moment."""


@dataclass(frozen=True)
class Interactions:
    """What words of a prompt do together, of half training rows and half held-out ones, since the start of the run.

    For every prompt the log-odds of one word of the answer is read under all 2^n masks of n words, parted into AND and
    OR interactions (`holdfast.probes.interactions.split`), and followed: preserved, emerged, removed
    (`holdfast.probes.interactions.sets`). An interaction is reliable if the models of ``references`` have it too, or,
    where there are none, if it is *stable* over ``templates``. The balance is what was removed of the unreliable less
    what emerged of it (`holdfast.probes.interactions.denoising`). Signal: ``{signal: interactions}``.

    Evidence: arXiv 2605.17967 on five models and three data sets: noise-like interactions go first and overfitted ones
    come after; no code, and no rule when to stop. Earlier papers of the group were criticized for phases read off
    figures and for references trained on test data; here both are answered, by intervals and by what is asked.

    Cost: 2^n outputs a prompt and template, of which masks share what they have in common; the base once, to choose
    the word that is watched. With the defaults 13 to 36 s a moment for the embedded
    bases, by how late the watched word stands in its answer (`benchmarks/interactions.py`).

    Args:
        prompts: How many, at least 2.
        players: Words of each that play, 2 to 10; rows with fewer are passed over.
        templates: The first is what is measured; the others say what is stable.
        references: Models, by name or folder, that say what generalizes: one of another family, or twins, trained on
            disjoint halves of the data. Asked once, at the start.
        repeats: Computations by which numeric noise is told; 1 for none.
        masking: What stands in the place of a masked word; see `holdfast.probes.interactions.masking`.
        watched: ``content`` passes over words that stand at the same place in all answers.
        path, suite: Where held-out rows come from; see `holdfast.probes.rows`.
        raw: Whether strengths stay in log-odds, so that a model that only grows surer has stronger interactions.
    """

    prompts: int = 32
    players: int = 8
    templates: tuple[str, ...] = TEMPLATES
    references: tuple[str, ...] = ()
    repeats: int = 3
    masking: Masking = "token"
    watched: Watched = "content"
    path: str | None = None
    suite: str | None = None
    raw: bool = False

    readings: ClassVar[tuple[str, ...]] = tuple(PREFIX + name for name in TOLD)
    needs: ClassVar[frozenset[Need]] = frozenset({"base", "held_out"})

    def __post_init__(self) -> None:
        # A recipe writes lists, and a frozen value is compared and kept by what it holds.
        object.__setattr__(self, "templates", tuple(self.templates))
        object.__setattr__(self, "references", tuple(self.references))
        _ = self.asking

    @property
    def asking(self) -> Asking:
        """What is asked at every moment."""
        return Asking(
            prompts=self.prompts, players=self.players, path=self.path, suite=self.suite, templates=self.templates,
            repeats=self.repeats, masking=self.masking, watched=self.watched,
        )  # fmt: skip

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs of all outputs; before the base was asked, with the last word that may be watched."""
        from holdfast.probes.interactions.scenes import cost

        return cost(self.asking, scene, len(self.references))

    def measure(self, scene: Scene) -> Mapping[str, Reading]:
        """Return the readings, means with intervals over prompts, and keep the moment for later ones."""
        from holdfast.probes.interactions.moment import Moment
        from holdfast.probes.interactions.scenes import games_of, moment_of
        from holdfast.probes.interactions.telling import tell

        past = [Moment.from_json(one["moment"]) for one in scene.past]
        now = moment_of(self.asking, scene, self.references, past[0] if past else None)
        told = tell([*past, now], raw=self.raw)
        estimates = {name: estimate.to_json() for name, estimate in told.estimates.items()}
        asked = {} if past else {"asked": games_of(self.asking, scene).to_json()}
        kept = {"told": {**told.chances, **estimates}, "orders": told.orders, **asked}
        scene.keep({"moment": now.to_json(), **kept})
        values: dict[str, Reading] = {**told.estimates, **told.chances}
        return {PREFIX + name: values.get(name) for name in TOLD}
