"""Ways of training, as a recipe's ``method`` names them. A literal table; members are imported when asked for."""

METHODS = {
    "sft": "holdfast.methods.sft:SFT",
    "grpo": "holdfast.methods.grpo:GRPO",
}
