"""From two checkpoints to a better one. A literal table; members are imported when asked for."""

HEALERS = {
    "interpolate": "holdfast.heal.interpolate:Interpolate",
    "core": "holdfast.heal.core:Core",
    "union": "holdfast.heal.union:Union",
    "union_keep_values": "holdfast.heal.union_keep_values:UnionKeepValues",
    "rotation_only": "holdfast.heal.rotation_only:RotationOnly",
    "head_tail": "holdfast.heal.head_tail:HeadTail",
    "uv_merge": "holdfast.heal.uv_merge:UVMerge",
    "values_only": "holdfast.heal.values_only:ValuesOnly",
    "layer_reset": "holdfast.heal.layer_reset:LayerReset",
    "lines": "holdfast.heal.lines:LiNeS",
    "noise_edge": "holdfast.heal.noise_edge:NoiseEdge",
    "intruders": "holdfast.heal.intruders:Intruders",
    "random_subspace": "holdfast.heal.random_subspace:RandomSubspace",
}
