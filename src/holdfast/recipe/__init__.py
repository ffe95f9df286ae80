"""A recipe: the schema of one run (``schema``), its file (``file``) and its faults in words (``faults``)."""

from holdfast.recipe.faults import keys_at, nearly, schema_faults, suggest
from holdfast.recipe.file import assigned, override, parse_yaml, read
from holdfast.recipe.schema import Budget, Count, Data, Decoding, DType, Every, Lora, Purpose, Recipe, SuiteSpec

__all__ = [
    "Budget",
    "Count",
    "DType",
    "Data",
    "Decoding",
    "Every",
    "Lora",
    "Purpose",
    "Recipe",
    "SuiteSpec",
    "assigned",
    "keys_at",
    "nearly",
    "override",
    "parse_yaml",
    "read",
    "schema_faults",
    "suggest",
]
