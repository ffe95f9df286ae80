"""Group-relative policy optimization: each episode is judged against others of the same problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class GRPO:
    """Reinforcement without a critic: the advantage of an episode is its reward against its group's.

        A_i = (r_i - mean(r)) / std(r)              over the G episodes of one problem (``scale_rewards: group``)
        loss = -1/Z · Σ_i Σ_t  min(ρ_it A_i, clip(ρ_it, 1 - epsilon, 1 + epsilon_high) A_i) - beta · KL_it
        ρ = p / p_old ,   KL = p_base/p - log(p_base/p) - 1

    ``Z`` is by ``loss_type``: ``dapo`` all tokens of the step; ``grpo`` each reply's mean counts once; ``dr_grpo`` replies
    times ``max_new_tokens``, so that longer replies do not count less. Groups whose rewards are all equal teach nothing:
    the share of the others is logged as ``mixed_groups``.

    Reference: Shao et al. 2024 (DeepSeekMath), whose paper has loss_type grpo, beta 0.04, epsilon 0.2; DAPO (2025) and
    Dr. GRPO (2025) for the others. Names and defaults are those of TRL.

    Args:
        num_generations: G, episodes of a problem.
        num_iterations: Passes over each rollout.
        steps_per_generation: Optimizer steps that one pass over a rollout is cut into.
        loss_type: See above.
        epsilon, epsilon_high: Clip range of the ratio; ``epsilon_high`` None is ``epsilon``.
        beta: Strength of the KL to the base; above 0 the base is loaded beside.
        scale_rewards: ``group`` divides by the group's standard deviation, ``none`` does not (Dr. GRPO).
        reward: ``success`` or the environment's ``verdict``.
        attempts: Replies a question, each after the first with feedback; all turns share the episode's advantage.
        temperature, top_p, max_new_tokens: Of the episodes.
        problems_per_step: None: ``per_device_train_batch_size`` times accumulation and processes, over G.
    """

    num_generations: int = 8
    num_iterations: int = 1
    steps_per_generation: int = 1
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    beta: float = 0.0
    scale_rewards: Literal["group", "none"] = "group"
    reward: Literal["success", "verdict"] = "success"
    attempts: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        if self.num_generations < 2:
            raise ValueError(f"num_generations must be at least 2, got {self.num_generations}: one is its own mean")
        for name in ("num_iterations", "steps_per_generation", "attempts", "max_new_tokens"):
            if {**self.__dict__}[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {self.__dict__[name]}")
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon must lie in (0, 1), got {self.epsilon}")
        if self.beta < 0:
            raise ValueError(f"beta must be at least 0, got {self.beta}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}: greedy episodes are all alike")
