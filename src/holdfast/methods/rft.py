"""Rejection-sampling fine-tuning: learn from one's own answers, those that verify."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.methods.sampling import Drawing


@dataclass(frozen=True)
class RFT(Drawing):
    """Fine-tune on answers of the untrained model that the environment verifies.

    ::

        y_1 … y_samples ~ p_base( · | x) at ``temperature``        for each of ``problems`` problems x
        rows = distinct { (x, y_i) : y_i is right and was not cut off }, at most ``keep`` of a problem
        loss = the recipe's objective on the rows        (``reward: verdict``: each times its reward / mean reward)

    Once drawn, it is fine-tuning as any other: every objective, budget and normalization works.

    It helps where the model is right now and then: it learns its own words, which it hardly has to change for, so it
    forgets less than from demonstrations in foreign words. It teaches nothing that is never drawn: what the model
    cannot do stays so, problems that it solves always get most of the rows, and where nearly all answers are right it
    only sharpens. What fools the judge is learned too. Draw at temperature 1: what is drawn hotter is learned as it is,
    so the model itself becomes as hot, and babbles where it did not.

    Reference: Yuan et al. 2023 (arXiv 2308.01825). There the drawing model has been fine-tuned on demonstrations
    first, and distinct means distinct equation lists; here the model of the recipe draws, and distinct means distinct
    text. One round; for more, start the next recipe from the checkpoint.

    Args:
        keep: Rows of a problem at most, the first drawn; None: all. ``problems`` with many right answers count less.
        reward: ``success``: right answers, all alike. ``verdict``: answers with a reward above 0, weighted by it.
        problems, samples: See `Drawing`.
        attempts, temperature, top_p, max_new_tokens: See `Sampling`. Replies are judged and learned one by one.
    """

    keep: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep is not None:
            self.at_least(1, "keep")
