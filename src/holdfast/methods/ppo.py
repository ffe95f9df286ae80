"""Proximal policy optimization: a critic says what each token was worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.methods.sampling import Playing


@dataclass(frozen=True)
class PPO(Playing):
    """Reinforcement with a critic: advantages by generalized advantage estimation over the tokens of an episode.

    ::

        δ_t = r_t + γ_t V_{t+1} - V_t ,   A_t = δ_t + γ_t lam A_{t+1} ,   R_t = A_t + V_t
        r_t = [t ends a turn] · reward  -  kl_coef · (log p_old - log p_base)
        loss = mean_t  max(-ρ A, -clip(ρ, 1 ± cliprange) A)
             + vf_coef/2 · mean_t  max((V - R)², (clip(V, V_old ± cliprange_value) - R)²)

    ``γ_t`` is ``gamma`` where a turn ends and 1 inside a turn, so that ``gamma`` discounts corrections and not long
    replies; ``lam`` is per token. Advantages are normalized over the rollout. The critic is a small network on the
    state that each token was predicted from.

    Reference: Schulman et al. 2017 (arXiv 1707.06347), Schulman et al. 2016 (GAE). Names are those of TRL's former
    trainer. The published runs (Chu et al. 2025) take a whole reply as one action and weigh its reasoning tokens by
    half; here tokens are actions. Their figures: ``recipes/ppo_published.yaml``.

    Args:
        num_ppo_epochs: Passes over each rollout.
        num_mini_batches: Optimizer steps that one pass over a rollout is cut into.
        num_generations: Episodes of a problem in a rollout; with several, ``mixed_groups`` is logged as for GRPO.
        cliprange: Clip range of the ratio.
        cliprange_value: Of the value; None does not clip it.
        vf_coef: Weight of the value loss.
        kl_coef: Strength of the KL to the base in the reward; above 0 the base is loaded beside.
        gamma, lam: Of the advantages; see above.
        value_hidden: Width of the critic's hidden layer; 0: the critic is linear.
        value_trunk: ``shared``: the value loss trains the model too; ``detached``: the critic alone.
        value_learning_rate: Of the critic, constant; None: the recipe's.
        reward, attempts, temperature, top_p, max_new_tokens: See `Sampling`.
    """

    num_ppo_epochs: int = 4
    num_mini_batches: int = 1
    num_generations: int = 1
    cliprange: float = 0.2
    cliprange_value: float | None = 0.2
    vf_coef: float = 0.1
    kl_coef: float = 0.0
    gamma: float = 1.0
    lam: float = 0.95
    value_hidden: int = 256
    value_trunk: Literal["shared", "detached"] = "shared"
    value_learning_rate: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "num_ppo_epochs", "num_mini_batches", "num_generations")
        self.at_least(0, "vf_coef", "kl_coef", "value_hidden")
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 < self.cliprange < 1:
            raise ValueError(f"cliprange must lie in (0, 1), got {self.cliprange}")
        if self.cliprange_value is not None and not self.cliprange_value > 0:
            raise ValueError(f"cliprange_value must be above 0, got {self.cliprange_value}")
        if self.value_trunk not in ("shared", "detached"):
            raise ValueError(f"value_trunk must be shared or detached, got {self.value_trunk!r}")

    @property
    def scores_first(self) -> bool:
        """Always: advantages are made of what the critic said of the replies."""
        return True

    @property
    def asks_base(self) -> bool:
        """Whether the untrained model has to be there."""
        return self.kl_coef > 0

    @property
    def passes(self) -> int:
        """How often a rollout is learned from."""
        return self.num_ppo_epochs

    @property
    def steps_a_pass(self) -> int:
        """Optimizer steps of one pass over a rollout."""
        return self.num_mini_batches
