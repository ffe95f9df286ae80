"""How many routes a second the city generator deals, and what a route file of the published form costs.

    python benchmarks/city_generator.py

Prints the tables of ``benchmarks/results/city_generator.md``. Processor time of one core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from time import process_time

from holdfast.environments.navigation.city import HOMES, city, deal
from holdfast.environments.navigation.rail import rail
from holdfast.environments.navigation.routes_file import read_routes, write_routes
from holdfast.environments.navigation.street_plans import STYLES

ROUTES = 5_000
FILE_ROUTES = 1_000


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    begin = process_time()
    work()
    return process_time() - begin


def deal_all(milestones: tuple[int, int], styles: tuple[str, ...]) -> list[float]:
    """Routes a second, with no city built before and with all of them."""
    city.cache_clear()

    def work() -> None:
        for index in range(ROUTES):
            deal("train", index, seed=0, milestones=milestones, styles=styles)

    return [ROUTES / seconds(work) for _ in range(2)]


def main() -> None:
    """Measure and print."""
    deal("train", 0, seed=0)  # the pools of names, once a process
    styles = tuple(STYLES)
    print("| 5,000 train routes | routes a second, cities built on the way | cities known |\n|---|---|---|")
    cases = [("2 to 5 milestones, all styles", (2, 5), styles), ("10 milestones, all styles", (10, 10), styles)]
    cases += [(f"2 to 5 milestones, {style}", (2, 5), (style,)) for style in styles]
    for label, milestones, chosen in cases:
        cold, warm = deal_all(milestones, chosen)
        print(f"| {label} | {cold:,.0f} | {warm:,.0f} |")
    city.cache_clear()
    numbers = range(HOMES["train"])
    built = {style: seconds(lambda style=style: [city(style, "train", n) for n in numbers]) for style in styles}
    print("\n| a city | ms to build | crossings | blocks | named places |\n|---|---|---|---|---|")
    for style in styles:
        made = [city(style, "train", number) for number in numbers]
        sizes = [
            mean(map(len, parts)) for parts in zip(*[(c.crossings, c.blocks, c.places) for c in made], strict=True)
        ]
        print(f"| {style} | {built[style] / len(made) * 1e3:.1f} | {' | '.join(f'{size:.0f}' for size in sizes)} |")
    routes = [deal("train", index, seed=0) for index in range(FILE_ROUTES)]
    points: list[int] = []
    rails = seconds(lambda: points.extend(len(rail(route, seed=0)) for route in routes))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "route_infos.json"
        written = seconds(lambda: write_routes(path, routes))
        read = seconds(lambda: read_routes(path, seed=0))
        size = path.stat().st_size
    print("\n| 1,000 routes | |\n|---|---|")
    print(f"| rails a second | {FILE_ROUTES / rails:,.0f} |\n| points a rail | {mean(points):.1f} |")
    print(f"| route file, ms to write | {written * 1e3:.0f} |\n| route file, ms to read | {read * 1e3:.0f} |")
    print(f"| route file, MB | {size / 1e6:.1f} |")


if __name__ == "__main__":
    main()
