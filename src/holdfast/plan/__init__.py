"""What a recipe will train, cost and need: its faults in a second, its figures before anything is trained."""

from holdfast.plan.faults import check, member_faults

__all__ = ["check", "member_faults"]
