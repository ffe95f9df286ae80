"""Faults of ``stop``: the signal, its options, and whether the run records what it reads. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from holdfast.errors import Fault, UnknownName, UserError
from holdfast.evaluate.suite import suite_read
from holdfast.plan.probe_faults import recorded, who_records
from holdfast.recipe import nearly, suggest
from holdfast.signals import SIGNALS
from holdfast.signals.reading import BESIDE_SUITES
from holdfast.signals.spec import signal_of


def stop_faults(values: Mapping[str, Any], *, allow_code: bool = False) -> Iterator[Fault]:
    """Yield the faults of a recipe's ``stop``."""
    stop = values.get("stop")
    if not isinstance(stop, Mapping):
        return
    if "signal" not in stop:
        near = [key for key in stop if nearly(str(key), "signal")]
        yield Fault("stop.signal", f"is missing (there is {near[0]!r})" if near else "is missing", suggest("", SIGNALS))
        return
    try:
        signal = signal_of(stop, allow_code=allow_code)
    except UnknownName as fault:
        yield Fault("stop", fault.problem, suggest(fault.name, fault.known))
        return
    except UserError as fault:
        yield Fault("stop", str(fault))
        return
    suites = values.get("suites")
    names = [str(name) for name in suites] if isinstance(suites, Mapping) else []
    beside = [*BESIDE_SUITES, *recorded(values, allow_code=allow_code)]
    for reading in signal.needs:
        known = [f"eval_{name}_success" for name in names]
        if reading.startswith("eval_") and suite_read(reading, names) is None:
            fix = suggest(reading, known) if known else "The recipe has no suites."
            yield Fault("stop.reads", f"{reading!r} belongs to no suite of this recipe", fix)
        elif not reading.startswith("eval_") and reading not in beside:
            yield _unread(reading, [*beside, *known])


def _unread(reading: str, known: Iterable[str]) -> Fault:
    probe = who_records(reading)
    if probe is None:
        return Fault("stop.reads", f"a run records no {reading!r}", suggest(reading, known))
    short = ", or kl_rows: 64" if probe == "kl" else ""
    return Fault("stop.reads", f"a run records {reading!r} on request only", f"Add probes: {{{probe}: {{}}}}{short}.")
