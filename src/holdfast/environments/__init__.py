"""Verifiable tasks with rule variants. A literal table; members are imported when asked for."""

ENVIRONMENTS = {
    "arithmetic": "holdfast.environments.arithmetic:Arithmetic",
    "general_points": "holdfast.environments.general_points:GeneralPoints",
    "navigation": "holdfast.environments.navigation.environment:Navigation",
}

MIXTURES = {
    "arithmetic": "holdfast.environments.arithmetic.mixture:Mixture",
    "general_points": "holdfast.environments.general_points.mixture:Mixture",
    "navigation": "holdfast.environments.navigation.mixture:Mixture",
}
"""What base models are pre-trained on."""

TEXTS = {
    "arithmetic": "holdfast.environments.arithmetic:vocabulary_texts",
    "general_points": "holdfast.environments.general_points.vocabulary:vocabulary_texts",
    "navigation": "holdfast.environments.navigation.vocabulary:vocabulary_texts",
}
"""All fixed texts of an environment, for tokenizers made of words."""
