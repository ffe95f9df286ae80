"""Many recipes, one question: a grid of named arms over seeds, run side by side and compared."""

from holdfast.study.grid import Arm, Study, load

__all__ = ["Arm", "Study", "load"]
