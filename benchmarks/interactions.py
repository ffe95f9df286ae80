"""Interactions: our split, transforms, shared prefixes and whole checks beside what they replace, in one run.

    OMP_NUM_THREADS=1 python benchmarks/interactions.py [--quick]

Prints the tables of ``benchmarks/results/interactions.md``. All times are CPU seconds of one thread. Gradient descent
is the published scheme: SGD with momentum 0.9 over v_and, and over errors within the tolerance, 20,000 steps at a rate
of 1e-5 that falls by a decade, with dense matrices and one game at a time; *batched* is the same with our transforms on
all games at once. The simplex is SciPy's HiGHS on the same program. Needs shapiq (``pip install -e '.[dev]'``).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from scipy.optimize import linprog

from holdfast.environments.arithmetic.environment import Arithmetic
from holdfast.environments.general_points import GeneralPoints
from holdfast.environments.navigation.environment import Navigation
from holdfast.models.load import load
from holdfast.probes.interactions.asking import TEMPLATES, Watched
from holdfast.probes.interactions.game import Game, bind
from holdfast.probes.interactions.masking import blank_of
from holdfast.probes.interactions.measure import Measured, measure
from holdfast.probes.interactions.moment import Moment, with_noise_again
from holdfast.probes.interactions.outputs import naive_tokens, reading, shared_tokens
from holdfast.probes.interactions.questions import ask
from holdfast.probes.interactions.salience import salient, thresholds
from holdfast.probes.interactions.split import TIE, split, tolerance
from holdfast.probes.interactions.telling import tell
from holdfast.probes.interactions.transforms import moebius, or_interactions, orders, outputs_of
from holdfast.records import Example

Array = NDArray[np.float64]
NOISE = 0.05
STEPS = 20_000
EVERY = (np.arange(256)[:, None] >> np.arange(8)) & 1 == 1


class Found(NamedTuple):
    """AND and OR interactions of some games, (P, 2, M), and CPU seconds a game."""

    interactions: Array
    seconds: float


def cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    made = work()
    return made, time.process_time() - start


def planted(n: int, *, atoms: int, seed: int) -> tuple[Array, Array]:
    """Return noisy outputs (M,) of a game and the interactions (2, M) that made them."""
    generator = np.random.default_rng(seed)
    chance = np.exp(-0.7 * orders(n)) * (orders(n) > 0)
    both = np.concatenate([chance, chance * (orders(n) > 1)])
    truth = np.zeros(len(both))
    places = generator.choice(len(both), atoms, replace=False, p=both / both.sum())
    truth[places] = generator.uniform(0.5, 2, atoms) * generator.choice([-1, 1], atoms)
    truth = truth.reshape(2, -1)
    return outputs_of(truth[0], truth[1]) + NOISE * generator.standard_normal(1 << n), truth


def ours(values: Array, delta: Array) -> Found:
    found, seconds = cpu(lambda: split(values, delta))
    return Found(np.stack([found.and_PM, found.or_PM], axis=1), seconds / len(values))


def descent(values: Array, delta: Array, *, dense: bool) -> Found:
    """The published optimization, one game at a time with dense matrices, or all at once with fast transforms."""
    n = values.shape[-1].bit_length() - 1
    eye = np.eye(1 << n)
    and_MM, or_MM = torch.tensor(moebius(eye).T.copy()), torch.tensor(or_interactions(eye).T.copy())

    def fast(v_PM: torch.Tensor) -> torch.Tensor:
        for bit in range(n):
            halves = v_PM.reshape(*v_PM.shape[:-1], -1, 2, 1 << bit)
            v_PM = torch.stack([halves[..., 0, :], halves[..., 1, :] - halves[..., 0, :]], dim=-2).flatten(-3)
        return v_PM

    def both(v_and: torch.Tensor, v_or: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (v_and @ and_MM.T, v_or @ or_MM.T) if dense else (fast(v_and), -fast(v_or.flip(-1)))

    def solved(u: torch.Tensor, most: torch.Tensor) -> Array:
        gap, error = (torch.zeros_like(u, requires_grad=True) for _ in range(2))
        optimizer = torch.optim.SGD([gap, error], lr=1e-5, momentum=0.9)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1 / STEPS))
        for _ in range(STEPS):
            within = torch.clamp(error, -most, most)
            a, b = both(0.5 * (u + within) + gap, 0.5 * (u + within) - gap)
            optimizer.zero_grad()
            (a[..., 1:].abs().sum() + b[..., 1:].abs().sum()).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            within = torch.clamp(error, -most, most)
            found = torch.stack(both(0.5 * (u + within) + gap, 0.5 * (u + within) - gap), dim=-2).numpy()
        found[..., 0] = 0
        one = orders(n) == 1
        found[..., 0, one] += found[..., 1, one]  # the published clean-up: ORs of one word are ANDs
        found[..., 1, one] = 0
        return np.asarray(found)

    wanted = torch.tensor(values - values[:, :1])
    most = torch.tensor(delta)[:, None]
    start = time.process_time()
    one_by_one = zip(wanted, most, strict=True)
    found = np.stack([solved(u, one) for u, one in one_by_one]) if dense else solved(wanted, most)
    return Found(found, (time.process_time() - start) / len(values))


def simplex(values: Array, delta: Array) -> Found:
    n = values.shape[-1].bit_length() - 1
    eye, nothing = np.eye(1 << n), np.zeros((1 << n, 1 << n))
    some, many = orders(n) > 0, orders(n) > 1
    atoms = np.concatenate([outputs_of(eye[some], nothing[some]), outputs_of(nothing[many], eye[many])]).T[1:]
    weights = 1 + TIE * np.concatenate([orders(n)[some], orders(n)[many]])

    def solved(v: Array, most: float) -> Array:
        wanted = (v - v[0])[1:]
        found = linprog(
            np.concatenate([weights, weights]), A_ub=np.block([[atoms, -atoms], [-atoms, atoms]]),
            b_ub=np.concatenate([wanted + most, most - wanted]), bounds=(0, None), method="highs",
        )  # fmt: skip
        x = found.x[: len(weights)] - found.x[len(weights) :]
        made = np.zeros((2, 1 << n))
        made[0, some], made[1, many] = x[: some.sum()], x[some.sum() :]
        return made

    found, seconds = cpu(lambda: np.stack([solved(v, float(one)) for v, one in zip(values, delta, strict=True)]))
    return Found(found, seconds / len(values))


def splits(n: int, games: int, sides: dict[str, Callable[[Array, Array], Found]]) -> None:
    made = [planted(n, atoms=23, seed=seed) for seed in range(games)]
    values, truth = np.array([v for v, _ in made]), np.array([t for _, t in made])
    noise = np.full(games, NOISE)
    delta = tolerance(values, noise_P=noise)
    print(f"\nSplit of {games} planted games, n = {n}, 23 interactions, noise {NOISE}\n")
    print(
        "| | CPU s a game | times ours | ‖I‖₁ | above the least | count (true 23) | F1 |\n|---|---|---|---|---|---|---|"
    )
    first: Found | None = None
    for name, solve in sides.items():
        found = solve(values, delta)
        first = first or found
        size, least = (np.abs(one.interactions).sum(axis=(1, 2)).mean() for one in (found, first))
        signs = salient(found.interactions, thresholds(found.interactions, noise))
        right = ((np.sign(truth) == signs) & (truth != 0)).sum(axis=(1, 2))
        counts = (signs != 0).sum(axis=(1, 2))
        score = (2 * right / (counts + 23)).mean()
        print(
            f"| {name} | {found.seconds:.4f} | {found.seconds / first.seconds:.0f} | {size:.3f} | "
            f"{100 * (size / least - 1):+.3f} % | {counts.mean():.1f} | {score:.2f} |",
            flush=True,
        )


def transforms() -> None:
    from shapiq.game_theory.exact import ExactComputer

    print("\nMöbius transform of one game, outputs known\n")
    print("| n | ours, ms | shapiq's exact computer, ms | ratio |\n|---|---|---|---|")
    for n in (8, 10):
        v = np.random.default_rng(0).standard_normal(1 << n)
        _, seconds = cpu(lambda v=v: [moebius(v) for _ in range(200)])
        computer = ExactComputer(lambda c, v=v, n=n: v[(c.astype(int) << np.arange(n)).sum(1)], n_players=n)
        found, slow = cpu(lambda computer=computer, n=n: computer("Moebius", order=n))
        members = tuple(range(n))
        assert np.isclose(found[members], moebius(v)[-1])
        print(f"| {n} | {1000 * seconds / 200:.3f} | {1000 * slow:.0f} | {200 * slow / seconds:.0f} |", flush=True)


def examples(environment: Any, rule: str, count: int) -> list[Example]:
    rows = []
    for index in range(count):
        steps = environment.steps(environment.sample(rule, "train", index, seed=0))
        step = steps[index % len(steps)]
        rows.append(Example(tuple(environment.prompt(step)), environment.demonstrate(step), f"{rule} {index}"))
    return rows


def asked(name: str, rows: list[Example], *, watched: Watched, count: int, players: int = 8) -> tuple[Any, list[Game]]:
    loaded = load(name)
    found = ask(rows, loaded.model, loaded.speaker, players=players, watched=watched, count=count)
    return loaded, [bind(question, loaded.speaker) for question in found.questions]


def prefixes(*, count: int) -> None:
    points = GeneralPoints(rules=("faces_as_10",), prompt_style="terse", answer_format="formula_tagged")
    routes = Navigation(rules=("absolute", "relative"), prompt_style="terse", answer_format="numbered_tagged")
    cases: list[tuple[str, str, Any, str, Watched]] = [
        ("cards, first word of the answer", "pocket", points, "faces_as_10", "any"),
        ("cards, first word that is not format", "pocket", points, "faces_as_10", "content"),
        ("routes", "pocket-town", routes, "absolute", "content"),
        ("arithmetic", "pocket-arithmetic", Arithmetic(prompt_style="terse"), "times_first", "content"),
        ("arithmetic, long prompt", "pocket-arithmetic", Arithmetic(), "times_first", "content"),
    ]
    print("\nOutputs of all 256 masks, whole rows → shared prefixes\n")
    print("| prompts | tokens of one | tokens read | fewer | CPU s a prompt | faster | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for name, base, environment, rule, watched in cases:
        loaded, games = asked(base, examples(environment, rule, 4 * count), watched=watched, count=count)
        with reading(loaded.model, blank_of("token", loaded.model, loaded.speaker), games) as reader:
            assert reader.shares
            shared, fast = cpu(lambda reader=reader, games=games: [reader.all_masks(game).values_M for game in games])
            whole, slow = cpu(lambda reader=reader, games=games: [reader.whole_rows(game, EVERY) for game in games])
        read = np.array([sum(map(naive_tokens, games)), sum(map(shared_tokens, games))])
        apart = max(np.abs(a - b).max() for a, b in zip(shared, whole, strict=True))
        print(
            f"| {name} | {np.mean([len(game.ids) for game in games]):.0f} | {read[0]:,} → {read[1]:,} | "
            f"**{read[0] / read[1]:.1f}×** | {slow / count:.2f} → {fast / count:.2f} | {slow / fast:.1f}× | "
            f"{apart:.1e} |",
            flush=True,
        )


def checks(*, count: int) -> None:
    """Print what one moment of a run costs: the full probe, and the cheap one."""
    rows = examples(Arithmetic(prompt_style="terse"), "times_first", 4 * count)
    print("\nOne moment of a run, embedded base of arithmetic\n")
    print("| check | prompts | n | CPU s | of it the split |\n|---|---|---|---|---|")
    loaded, games = asked("pocket-arithmetic", rows, watched="content", count=count)
    blank = blank_of("token", loaded.model, loaded.speaker)
    questions = [game.question for game in games]

    def full() -> Measured:
        bound = [[bind(one, loaded.speaker, template=template) for one in questions] for template in TEMPLATES]
        main, *others = (
            measure(loaded.model, own, blank, repeats=1 if number else 3) for number, own in enumerate(bound)
        )
        moment = Moment(main, tuple(one.salient() for one in others), (), with_noise_again(main, seed=0))
        tell([moment, moment])
        return main

    main, seconds = cpu(full)
    _, parting = cpu(lambda: split(main.values_PM, tolerance(main.values_PM)))
    print(
        f"| full: 3 templates, 3 repeats, intervals | {len(games)} | 8 | {seconds:.1f} | {4 * parting:.1f} |",
        flush=True,
    )
    few = count // 2
    _, games = asked("pocket-arithmetic", rows, watched="content", count=few, players=6)
    main, seconds = cpu(lambda: measure(loaded.model, games, blank, repeats=1))
    _, parting = cpu(lambda: split(main.values_PM, tolerance(main.values_PM)))
    print(f"| cheap | {few} | 6 | {seconds:.1f} | {parting:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few games and prompts, no descent at n = 10")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    splits(
        8,
        2 if quick else 6,
        {
            "interior point (ours)": ours,
            "simplex (HiGHS)": simplex,
            f"gradient descent, {STEPS:,} steps": lambda v, d: descent(v, d, dense=True),
            "… batched, fast transforms": lambda v, d: descent(v, d, dense=False),
        },
    )
    if not quick:
        splits(
            10,
            1,
            {
                "interior point (ours)": ours,
                f"gradient descent, {STEPS:,} steps": lambda v, d: descent(v, d, dense=True),
            },
        )
    transforms()
    prefixes(count=2 if quick else 8)
    checks(count=4 if quick else 32)


if __name__ == "__main__":
    main()
