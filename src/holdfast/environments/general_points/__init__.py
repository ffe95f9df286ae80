"""The points game: make a target from a hand of cards, under rules that say what the cards count as."""

from holdfast.environments.general_points.environment import GeneralPoints
from holdfast.environments.general_points.rules import rule_map
from holdfast.environments.general_points.splits import held_out_of_pretraining
from holdfast.environments.general_points.vocabulary import vocabulary_texts

__all__ = ["GeneralPoints", "held_out_of_pretraining", "rule_map", "vocabulary_texts"]
