"""Many recipes, one question: a grid of named arms over seeds, run side by side and compared."""

from holdfast.study.grid import Arm, Study, load
from holdfast.study.machine import Machine, weight_bytes
from holdfast.study.runner import Outcome, Runner, Watch, train_command

__all__ = ["Arm", "Machine", "Outcome", "Runner", "Study", "Watch", "load", "train_command", "weight_bytes"]
