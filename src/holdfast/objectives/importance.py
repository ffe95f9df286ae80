"""Importance-weighted fine-tuning: demonstrations count by how the model has come to prefer them to the base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from holdfast.objectives.base import Objective, TokenStats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Importance(Objective):
    """Scale cross-entropy by how much likelier the demonstration is now than it was under the base model.

        loss_n = -sg(min(exp(temperature · mean_a(log p - log p_base)), most)) · log p_n

    with the mean over the tokens of the answer a of which n is one (``per: answer``), or without a mean
    (``per: token``), where the weight is also at least ``least``.

    On curated demonstrations likelihood is a lower bound of the reward, and this a tighter one. Weights begin at 1 and
    grow with what is learned, so that a rich answer becomes richer; ``most`` bounds it.

    Reference: iw-SFT, Qin and Springenberg 2025 (arXiv 2507.12856); the defaults are those of the authors' program:
    the mean in place of the trajectory's sum, temperature 1, at most 16 (an answer) or from 0.2 to 1.8 (a token).

    Args:
        per: ``answer`` or ``token``.
        temperature: Factor of the log-ratio, at least 0; 0 is NLL up to the clipping.
        least: Least weight of a token.
        most: Largest weight; None: 16 for answers, 1.8 for tokens.

    Raises:
        ValueError: an argument lies outside its range.
    """

    per: Literal["answer", "token"] = "answer"
    temperature: float = 1.0
    least: float = 0.2
    most: float | None = None

    def __post_init__(self) -> None:
        if self.per not in ("answer", "token"):
            raise ValueError(f"per must be answer or token, got {self.per!r}")
        if not 0.0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be at least 0, got {self.temperature}")
        if not 0.0 <= self.least <= self.largest:
            raise ValueError(f"least and most must be 0 <= least <= most, got {self.least} and {self.largest}")

    @property
    def largest(self) -> float:
        """The weight above which nothing is weighed."""
        return self.most if self.most is not None else {"answer": 16.0, "token": 1.8}[self.per]

    @property
    def needs(self) -> frozenset[str]:
        """Log-probabilities under the base, of the token or averaged over the answer."""
        return frozenset({"mean_logp", "mean_base_logp"} if self.per == "answer" else {"base_logp"})

    def weight(self, stats: TokenStats) -> Tensor:
        """Return the clipped ratio, shape (R,)."""
        answer = self.per == "answer"
        now_R, base_R = (stats.mean_logp_N, stats.mean_base_logp_N) if answer else (stats.logp_N, stats.base_logp_N)
        assert now_R is not None
        assert base_R is not None
        # Where both are -inf the difference is NaN; what neither can say gains nothing.
        ratio_R = (self.temperature * (now_R - base_R)).nan_to_num(nan=0.0).exp()
        return ratio_R.clamp(min=0.0 if answer else self.least, max=self.largest)
