"""What a recipe will train, cost and need: its faults in a second, its figures before anything is trained."""

from holdfast.plan.estimate import plan
from holdfast.plan.exposure import exposure_label
from holdfast.plan.faults import check, member_faults
from holdfast.plan.figures import Plan, SuitePlan, label_of

__all__ = ["Plan", "SuitePlan", "check", "exposure_label", "label_of", "member_faults", "plan"]
