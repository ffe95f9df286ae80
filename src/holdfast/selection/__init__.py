"""Which parameters learn: ``parse`` a recipe's words, ``select`` on a model's roles, ``apply`` to the model.

Imports no torch; ``holdfast.selection.apply`` does, and is imported by itself.
"""

from holdfast.selection.base import ALIASES, PRESETS, Layers, Match, Selection, parse
from holdfast.selection.match import Matched, matched_depth
from holdfast.selection.selected import Cell, Row, Selected, select

__all__ = [
    "ALIASES",
    "PRESETS",
    "Cell",
    "Layers",
    "Match",
    "Matched",
    "Row",
    "Selected",
    "Selection",
    "matched_depth",
    "parse",
    "select",
]
