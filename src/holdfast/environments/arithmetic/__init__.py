"""Arithmetic: work out an expression in sentences, under rules that say which sign binds tighter."""

from holdfast.environments.arithmetic.environment import Arithmetic
from holdfast.environments.arithmetic.problems import held_out_of_pretraining
from holdfast.environments.arithmetic.rules import find_rule
from holdfast.environments.arithmetic.vocabulary import vocabulary_texts

__all__ = ["Arithmetic", "find_rule", "held_out_of_pretraining", "vocabulary_texts"]
