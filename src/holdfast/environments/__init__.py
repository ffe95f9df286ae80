"""Verifiable tasks with rule variants. A literal table; members are imported when asked for."""

ENVIRONMENTS = {
    "general_points": "holdfast.environments.general_points:GeneralPoints",
}
