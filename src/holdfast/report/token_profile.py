"""What fine-tuning did to the probability of each target token: histograms, both ends, kinds, the most moved tokens.

DFT's authors report that likelihood raises all probabilities, most those at the low end, while DFT drives tokens apart,
to 1 or toward 0. Here that is a table with intervals: shares below 0.05 and above 0.95, before and after, on the same
tokens. Rows count as clusters, since the tokens of an answer move together.

Shapes: ``N`` target tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from holdfast.records import Estimate
from holdfast.report import words
from holdfast.report.drawing import log_x, look, new_figure, settle, style
from holdfast.report.publishing import drawn, page_path, publish, template
from holdfast.report.tables import Table
from holdfast.statistics import cluster_bootstrap, rate_by_cluster

LOW, HIGH = 0.05, 0.95
LINEAR = np.linspace(0.0, 1.0, 21)
LOGARITHMIC = np.concatenate([[0.0], np.logspace(-8, 0, 33)])
FEWEST = 5
"""Occurrences below which a token is not among the most moved."""
SHOWN = 8
LEAST_MOVE = 0.0005
"""What the last printed digit can show."""

KINDS = ("function word", "word", "digits", "operator", "punctuation", "special")
_FUNCTION = """
a an the this that these those and or but nor so yet if then else because as while when where which who whom
whose what how of in to on at by for from with without into over under between through about against during
before after above below up down out off again once here there is are was were be been being am do does did done
have has had having will would shall should can could may might must not no only own same than too very it its
he him his she her they them their we us our you your i me my let thus hence therefore
"""
FUNCTION_WORDS = frozenset(_FUNCTION.split())
_OPERATOR = re.compile(r"[-+*/=<>^×÷·±√∑∏∫≤≥≠≈()\[\]{}|%]+")


@dataclass(frozen=True)
class Targets:
    """The target tokens, in order.

    Attributes:
        texts: Each as it is written.
        special: Whether it is a sign of the chat template or an end of turn.
        rows: Name of the row that it belongs to.
    """

    texts: tuple[str, ...]
    special: tuple[bool, ...]
    rows: tuple[str, ...]

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each token, of `KINDS`."""
        return tuple(kind_of(text, special=mark) for text, mark in zip(self.texts, self.special, strict=True))


@dataclass(frozen=True)
class Profile:
    """Probabilities of the same targets under several models.

    Attributes:
        targets: What was asked.
        models: Name to probabilities (N,), the base first.
    """

    targets: Targets
    models: Mapping[str, NDArray[np.float64]]

    @property
    def base(self) -> str:
        """Name of the first model."""
        return next(iter(self.models))

    @property
    def tuned(self) -> list[str]:
        """Names of the others."""
        return list(self.models)[1:]

    def change(self, name: str) -> NDArray[np.float64]:
        """Return the change of each probability since the base, (N,)."""
        return self.models[name] - self.models[self.base]


def kind_of(text: str, *, special: bool = False) -> str:
    """Return what kind of token a text is.

    Example:
        >>> [kind_of(text) for text in (" the", "Ġ12", "+", ",", "hand")]
        ['function word', 'digits', 'operator', 'punctuation', 'word']
    """
    bare = text.strip().lstrip("Ġ▁").lower()
    if special:
        return "special"
    if bare.isdigit():
        return "digits"
    if bare in FUNCTION_WORDS:
        return "function word"
    if any(character.isalpha() for character in bare):
        return "word"
    return "operator" if bare and _OPERATOR.fullmatch(bare) else "punctuation"


def ends(profile: Profile) -> Table:
    """Return for each model the mean probability, both ends of the distribution, and how they moved since the base."""
    rows = []
    for name, p_N in profile.models.items():
        low, high = p_N < LOW, p_N > HIGH
        row = [name, f"{p_N.mean():.3f}", *(_rate(mask_N, profile) for mask_N in (low, high))]
        if name == profile.base:
            rows.append((*row, "", "", ""))
            continue
        base_N = profile.models[profile.base]
        moved = [_moved(low, base_N < LOW, profile), _moved(high, base_N > HIGH, profile)]
        rows.append((*row, *(_signed(one) for one in moved), _verdict(*moved)))
    columns = ("model", "mean p", f"p < {LOW}", f"p > {HIGH}", f"change of p < {LOW}", f"change of p > {HIGH}", "")
    n, clusters = len(profile.targets.texts), len(set(profile.targets.rows))
    note = (
        f"{n:,} target tokens of {clusters:,} rows; 95 % intervals by row. Raised: fewer tokens at the low end and "
        "more at the high one. Polarized: more at both ends."
    )
    return Table(columns, tuple(rows), "lrrrrrl", (note,))


def by_kind(profile: Profile) -> Table:
    """Return the mean probability of each kind of token under each model."""
    kinds_N = np.array(profile.targets.kinds)
    rows = [
        (kind, f"{int(mask_N.sum()):,}", *(f"{p_N[mask_N].mean():.3f}" for p_N in profile.models.values()))
        for kind in KINDS
        if (mask_N := kinds_N == kind).any()
    ]
    return Table(("kind", "tokens", *profile.models), tuple(rows), "lr" + "r" * len(profile.models))


def moved(profile: Profile, name: str) -> Table:
    """Return the tokens whose mean probability rose most, then those whose fell most, with how often they occur."""
    texts_N, place_N, counts = np.unique(np.array(profile.targets.texts), return_inverse=True, return_counts=True)
    place_N = place_N.reshape(-1)
    before, after = (
        np.bincount(place_N, weights=profile.models[model], minlength=len(counts)) / counts
        for model in (profile.base, name)
    )
    often = np.flatnonzero(counts >= FEWEST)
    order = often[np.argsort(before[often] - after[often], kind="stable")]
    raised = [token for token in order[:SHOWN] if after[token] - before[token] >= LEAST_MOVE]
    lowered = [token for token in order[::-1][:SHOWN] if before[token] - after[token] >= LEAST_MOVE]
    rows = [
        (
            _shown(str(texts_N[token])),
            kind_of(str(texts_N[token])),
            f"{int(counts[token]):,}",
            f"{before[token]:.3f}",
            f"{after[token]:.3f}",
            f"{after[token] - before[token]:+.3f}".replace("-", "−"),
        )
        for token in (*raised, *lowered)
    ]
    columns = ("token", "kind", "times", profile.base, name, "change")
    note = f"Means over occurrences: the most raised, then the most lowered, of tokens that occur {FEWEST} times."
    return Table(columns, tuple(rows), "llrrrr", (note,))


def figure(profile: Profile) -> Figure:
    """Draw how many tokens have which probability, on a linear and on a logarithmic scale."""
    with style():
        made = new_figure(3.6)
        left, right = made.subplots(1, 2, sharey=True)
        for number, (name, p_N) in enumerate(profile.models.items()):
            color = look(number).color
            for panel, edges in ((left, LINEAR), (right, LOGARITHMIC)):
                counts, _ = np.histogram(p_N, bins=edges)
                places = edges if panel is left else np.concatenate([[edges[1] / 2], edges[1:]])
                panel.stairs(np.maximum(counts, 0.5), places, color=color, label=words.visible(name, 40), baseline=0.5)
        left.set_yscale("log")
        left.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        log_x(right)
        left.set_ylabel("target tokens")
        left.set_xlabel("probability")
        right.set_xlabel("probability, logarithmic")
        handles, labels = left.get_legend_handles_labels()
        made.legend(handles, labels, loc="outside upper left", ncols=min(3, len(labels)), fontsize=8.5)
        return settle(made)


def to_json(profile: Profile) -> dict[str, object]:
    """Return histograms, ends and kinds as plain values."""
    kinds_N = np.array(profile.targets.kinds)

    def told(p_N: NDArray[np.float64]) -> dict[str, object]:
        return {
            "mean": float(p_N.mean()),
            "below": float((p_N < LOW).mean()),
            "above": float((p_N > HIGH).mean()),
            "linear": np.histogram(p_N, bins=LINEAR)[0].tolist(),
            "logarithmic": np.histogram(p_N, bins=LOGARITHMIC)[0].tolist(),
            "kinds": {kind: float(p_N[kinds_N == kind].mean()) for kind in KINDS if (kinds_N == kind).any()},
        }

    return {
        "tokens": len(profile.targets.texts),
        "rows": len(set(profile.targets.rows)),
        "linear_edges": LINEAR.tolist(),
        "logarithmic_edges": LOGARITHMIC.tolist(),
        "models": {name: told(p_N) for name, p_N in profile.models.items()},
    }


def write(profile: Profile, output: Path | str, *, title: str) -> Path:
    """Write the page with its figure, and return the page's path.

    Raises:
        RunFolderError: nothing can be written.
    """
    caption = (
        "How many target tokens have which probability, teacher-forced, on the rows of training. The leftmost bin on "
        "the right holds everything below 1e-8."
    )
    one = drawn("tokens", figure(profile), caption)
    text = template("tokens.html.j2").render(
        title=title,
        subtitle=f"{len(profile.targets.texts):,} target tokens · {words.listed(list(profile.models))}",
        figure=one,
        ends=ends(profile),
        kinds=by_kind(profile),
        moved=[(name, moved(profile, name)) for name in profile.tuned],
    )
    return publish(page_path(output), text, {one.name: one.figure})


def _rate(mask_N: NDArray[np.bool_], profile: Profile) -> str:
    found = rate_by_cluster(mask_N.tolist(), profile.targets.rows)
    return f"{words.percent(found.value)} {words.interval(found.low, found.high)}"


def _moved(after_N: NDArray[np.bool_], before_N: NDArray[np.bool_], profile: Profile) -> Estimate:
    change_N = after_N.astype(float) - before_N.astype(float)
    return cluster_bootstrap(change_N.tolist(), profile.targets.rows, seed=0)


def _signed(found: Estimate) -> str:
    return f"{words.points(found.value)} {words.signed_interval(found.low, found.high)}"


def _verdict(low: Estimate, high: Estimate) -> str:
    signs = [_sign(found) for found in (low, high)]
    return {(1, 1): "polarized", (-1, 1): "raised", (1, -1): "lowered"}.get((signs[0], signs[1]), "neither")


def _sign(found: Estimate) -> int:
    if found.low is None or found.high is None:
        return 0
    return 1 if found.low > 0 else -1 if found.high < 0 else 0


def _shown(text: str) -> str:
    return words.visible(text.replace(" ", "␣").replace("\n", "⏎"), 24)
