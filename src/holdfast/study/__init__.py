"""Many recipes, one question: a grid of named arms over seeds, run side by side and compared."""

from holdfast.study.arms import Arm
from holdfast.study.cluster import Cluster, ClusterRunner
from holdfast.study.grid import Study, load
from holdfast.study.ledger import Outcome, Watch, train_command
from holdfast.study.machine import Machine, weight_bytes
from holdfast.study.processes import Spread
from holdfast.study.runner import Runner

__all__ = [
    "Arm",
    "Cluster",
    "ClusterRunner",
    "Machine",
    "Outcome",
    "Runner",
    "Spread",
    "Study",
    "Watch",
    "load",
    "train_command",
    "weight_bytes",
]
