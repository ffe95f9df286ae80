"""Direct preference optimization: of two answers to one question, make the better one relatively more likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.methods.sampling import Drawing


@dataclass(frozen=True)
class DPO(Drawing):
    """Learn from pairs of answers, without a reward model and without playing.

    ::

        m = (log p(y_w) - log p_base(y_w)) - (log p(y_l) - log p_base(y_l))      sums over the tokens of each answer
        loss = -log sigmoid(beta · m)                                            mean over the pairs of the step
        ``ipo``:  (m̄ - 1/(2 beta))²                                              m̄: the same of means over tokens

    Pairs come from a file (rows ``prompt``, ``chosen``, ``rejected``), or are drawn: a right and a wrong answer of the
    untrained model to the same question. What the base says of them is computed once, before the first step, by the
    model as it is then; no second model is kept.

    It helps where right and wrong answers differ in what matters, and few steps are to be taken. It moves a margin, not
    a likelihood: the chosen answer may itself become *less* likely while the rejected one falls faster (likelihood
    displacement), the more so the more alike the two are. Watch ``chosen_logp``; if it falls, raise ``beta``, lower the
    rate, or take `holdfast.methods.rft.RFT` on the same answers.

    Reference: Rafailov et al. 2023 (arXiv 2305.18290); IPO: Azar et al. 2023 (arXiv 2310.12036), with the mean over
    tokens that TRL takes. Names and defaults are those of TRL. A batch counts pairs, each two rows.

    Args:
        beta: How strongly the base holds: large stays near it. Above 0.
        loss_type: See above.
        pairs_per_problem: Of drawn answers, pairs of a question at most; no answer stands in two pairs before all have
            stood in one.
        reward: ``success``: right against wrong. ``verdict``: the larger reward against the smaller.
        problems, samples: See `Drawing`; not for pairs of a file.
        attempts, temperature, top_p, max_new_tokens: See `Sampling`.
    """

    beta: float = 0.1
    loss_type: Literal["sigmoid", "ipo"] = "sigmoid"
    pairs_per_problem: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "pairs_per_problem")
        if self.samples < 2:
            raise ValueError(f"samples must be at least 2, got {self.samples}: one answer makes no pair")
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if self.loss_type not in ("sigmoid", "ipo"):
            raise ValueError(f"loss_type must be sigmoid or ipo, got {self.loss_type!r}")
