"""The points game: make a target from a hand of cards, under rules that say what the cards count as."""

from holdfast.environments.general_points.environment import GeneralPoints

__all__ = ["GeneralPoints"]
