"""Ways of training, as a recipe's ``method`` names them. A literal table; members are imported when asked for.

A member is a frozen dataclass of options, fast to import; what carries it out is made by `holdfast.run.methods`.
"""

from typing import TypeGuard

from holdfast.methods.dpo import DPO
from holdfast.methods.sampling import Drawing, Playing

METHODS = {
    "sft": "holdfast.methods.sft:SFT",
    "rft": "holdfast.methods.rft:RFT",
    "dpo": "holdfast.methods.dpo:DPO",
    "grpo": "holdfast.methods.grpo:GRPO",
    "ppo": "holdfast.methods.ppo:PPO",
}
"""What a recipe may call a method."""


def plays(options: object) -> TypeGuard[Playing]:
    """Whether a method, given as its options, learns from what the model says while it learns."""
    return isinstance(options, Playing)


def draws(options: object) -> bool:
    """Whether a method, given as its options, learns from answers that the untrained model gave beforehand.

    Pairs of a file are not drawn: see `holdfast.plan.method_faults`.
    """
    return isinstance(options, Drawing)


def rows_each(options: object) -> int:
    """Rows of one example: two where answers are compared."""
    return 2 if isinstance(options, DPO) else 1
