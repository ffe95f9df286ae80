"""A recipe: the schema of one run (``schema``), its file (``file``); its faults and its parts in words."""

from holdfast.recipe.blocks import Count, Data, Decoding, Purpose, Replay, SuiteSpec
from holdfast.recipe.faults import keys_at, nearly, schema_faults, suggest
from holdfast.recipe.file import assigned, override, parse_yaml, read
from holdfast.recipe.in_words import replay_in_words
from holdfast.recipe.schema import (
    Budget,
    DType,
    Every,
    Lora,
    Penalty,
    Recipe,
)

__all__ = [
    "Budget",
    "Count",
    "DType",
    "Data",
    "Decoding",
    "Every",
    "Lora",
    "Penalty",
    "Purpose",
    "Recipe",
    "Replay",
    "SuiteSpec",
    "assigned",
    "keys_at",
    "nearly",
    "override",
    "parse_yaml",
    "read",
    "replay_in_words",
    "schema_faults",
    "suggest",
]
