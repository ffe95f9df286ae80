"""Ways of training, as a recipe's ``method`` names them. A literal table; members are imported when asked for.

A member is a frozen dataclass of options, fast to import; what carries it out is made by `holdfast.run.methods`.
"""

METHODS = {
    "sft": "holdfast.methods.sft:SFT",
    "rft": "holdfast.methods.rft:RFT",
    "dpo": "holdfast.methods.dpo:DPO",
    "grpo": "holdfast.methods.grpo:GRPO",
    "ppo": "holdfast.methods.ppo:PPO",
}
"""What a recipe may call a method."""


def plays(options: object) -> bool:
    """Whether a method, given as its options, learns from what the model says while it learns."""
    return hasattr(options, "steps_a_pass")
