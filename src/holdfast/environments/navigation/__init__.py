"""Navigation: walk through a city by instructions, under rules that say how directions are named."""

from holdfast.environments.navigation.environment import Navigation
from holdfast.environments.navigation.rules import find_rule
from holdfast.environments.navigation.vocabulary import vocabulary_texts

__all__ = ["Navigation", "find_rule", "vocabulary_texts"]
