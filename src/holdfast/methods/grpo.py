"""Group-relative policy optimization: each episode is judged against others of the same problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.methods.sampling import Playing


@dataclass(frozen=True)
class GRPO(Playing):
    """Reinforcement without a critic: the advantage of an episode is its reward against its group's.

    ::

        A_i = (r_i - mean(r)) / std(r)              over the G episodes of one problem (``scale_rewards: group``)
        loss = -1/Z · Σ_i Σ_t  min(ρ_it A_i, clip(ρ_it, 1 - epsilon, 1 + epsilon_high) A_i) - beta · KL_it
        ρ = p / p_old ,   KL = p_base/p - log(p_base/p) - 1

    ``Z`` is by ``loss_type``: ``dapo`` all tokens of the step; ``grpo`` each reply's mean counts once; ``dr_grpo``
    replies times ``max_new_tokens``, so that longer replies do not count less. Groups whose rewards are all equal teach
    nothing: the share of the others is logged as ``mixed_groups``.

    It helps where success at the start is neither rare nor sure; where no group is mixed it does nothing.

    Reference: Shao et al. 2024 (DeepSeekMath): loss_type grpo, beta 0.04, epsilon 0.2, scale_rewards group; Yu et al.
    2025 (DAPO) and Liu et al. 2025 (Dr. GRPO) for the other losses. Names and defaults are those of TRL; the standard
    deviation is the group's own (divided by G, nothing added), and a group of equal rewards has advantages of 0.

    Args:
        num_generations: G, episodes of a problem.
        num_iterations: Passes over each rollout.
        steps_per_generation: Optimizer steps that one pass over a rollout is cut into.
        loss_type: See above.
        epsilon, epsilon_high: Clip range of the ratio; ``epsilon_high`` None is ``epsilon``.
        beta: Strength of the KL to the base; above 0 the base is loaded beside.
        scale_rewards: ``group`` divides by the group's standard deviation, ``none`` does not (Dr. GRPO).
        reward, attempts, temperature, top_p, max_new_tokens: See `Sampling`. All turns share the episode's advantage.
    """

    num_generations: int = 8
    num_iterations: int = 1
    steps_per_generation: int = 1
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    beta: float = 0.0
    scale_rewards: Literal["group", "none"] = "group"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_generations < 2:
            raise ValueError(f"num_generations must be at least 2, got {self.num_generations}: one is its own mean")
        self.at_least(1, "num_iterations", "steps_per_generation")
        self.at_least(0, "beta")
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon must lie in (0, 1), got {self.epsilon}")
        if self.loss_type not in ("dapo", "grpo", "dr_grpo"):
            raise ValueError(f"loss_type must be dapo, grpo or dr_grpo, got {self.loss_type!r}")
        if self.scale_rewards not in ("group", "none"):
            raise ValueError(f"scale_rewards must be group or none, got {self.scale_rewards!r}")

    @property
    def asks_base(self) -> bool:
        """Whether the untrained model has to be there."""
        return self.beta > 0

    @property
    def passes(self) -> int:
        """How often a rollout is learned from."""
        return self.num_iterations

    @property
    def steps_a_pass(self) -> int:
        """Optimizer steps of one pass over a rollout."""
        return self.steps_per_generation
