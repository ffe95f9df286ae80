"""What learns where a selection is adapted instead of trained: the adapters of its linear layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from holdfast.errors import SelectionError
from holdfast.models.roles import ParameterRole
from holdfast.selection.notes import tied_notes
from holdfast.selection.selected import Selected, table_of

SHOWN = 5
"""Names that an error lists at most."""


def check_adaptable(selected: Selected, linear: Collection[str]) -> None:
    """Raise unless a selection has a weight that an adapter can be put beside.

    Raises:
        SelectionError: it has none; the message names what it selected.
    """
    if not linear:
        more = f" and {len(selected.names) - SHOWN} more" if len(selected.names) > SHOWN else ""
        raise SelectionError(
            f"lora adapts weights of linear layers, and trainable selects none: {', '.join(selected.names[:SHOWN])}"
            f"{more}. Select attention, mlp or full, or leave lora out to train these tensors themselves."
        )


def adapted(
    selected: Selected, plain: Sequence[ParameterRole], *, with_adapters: Sequence[ParameterRole], linear: Sequence[str]
) -> Selected:
    """Return what learns of a model whose selected linear layers have adapters.

    Args:
        selected: From the plain model.
        plain: Its parameters.
        with_adapters: Parameters of the model with adapters: what it has beyond ``plain`` learns.
        linear: Names of the adapted weights.
    """
    there = {p.name for p in plain}
    taken = [p for p in with_adapters if p.name.replace(".base_layer.", ".") not in there]
    chosen = [p for p in plain if p.name in set(selected.names)]
    untrue = set(tied_notes(selected.selection, chosen, chosen))
    return replace(
        selected,
        names=tuple(p.name for p in taken),
        tied=(),
        n_parameters=sum(p.n_parameters for p in taken),
        n_total=sum(p.n_parameters for p in with_adapters),
        table=table_of(with_adapters, taken),
        notes=(
            *_left([p for p in chosen if p.name not in set(linear)]),
            *(note for note in selected.notes if note not in untrue),
        ),
    )


def _left(left: Sequence[ParameterRole]) -> Iterator[str]:
    if left:
        roles = Counter(p.role.value for p in left)
        kinds = ", ".join(f"{role} {count}" for role, count in roles.items())
        yield (
            f"lora: {len(left)} selected tensors stay frozen ({kinds}; {sum(p.n_parameters for p in left):,} "
            "parameters): they are not weights of linear layers, or embeddings, heads or shared weights"
        )
