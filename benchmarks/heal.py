"""What healing costs: time beside copying, floating point operations beside a plain product, memory beside the model.

    python benchmarks/heal.py [--layers 16] [--repeats 5] [--folder /tmp]

Makes random bfloat16 models of a few hundred megabytes in a temporary folder, and removes them. Each measurement runs
in a process of its own; sides of a comparison take turns.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from holdfast.environments.general_points.vocabulary import vocabulary_texts
from holdfast.heal.apply import Operation
from holdfast.heal.cost import counting
from holdfast.heal.healing import healing_of
from holdfast.heal.write import write_checkpoint
from holdfast.models.durable import fsync_tree
from holdfast.models.pairs import ModelPair
from holdfast.models.safetensors_file import TensorSpec
from holdfast.models.tensors import write_folder
from holdfast.models.word_tokenizer import build
from holdfast.spectral.cache import FactorCache

WIDTH, INNER, VOCABULARY = 512, 1792, 65_536
SHARE = 0.2
MEGABYTE = 1_000_000


def make(folder: Path, layers: int) -> None:
    """Write a random base and a tuned model, ‖D‖ about 1 % of ‖W‖."""
    tokenizer = build(vocabulary_texts(), numbers=40, positions=256)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=8, tie_word_embeddings=True, dtype="bfloat16",
    )  # fmt: skip
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in LlamaForCausalLM(config).named_parameters()}
    specs = [TensorSpec(name, torch.bfloat16, shape) for name, shape in sorted(shapes.items())]
    for name, moved in (("base", 0.0), ("tuned", 0.01)):
        (folder / name).mkdir(parents=True)
        write_folder(folder / name, specs, tensors=values(specs, moved), max_shard_bytes=250 * MEGABYTE)
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def values(specs: list[TensorSpec], moved: float) -> Iterator[tuple[str, Tensor]]:
    for number, spec in enumerate(specs):
        generator = torch.Generator().manual_seed(number)
        weight = torch.randn(spec.shape, generator=generator)
        if moved:
            weight += moved * torch.randn(spec.shape, generator=generator)
        yield spec.name, (weight / WIDTH**0.5).to(spec.dtype)


def copied(folder: Path, out: Path, *, hashed: tuple[str, ...] = ("out",), durable: bool = False) -> dict[str, float]:
    """Copy the tuned model and hash the copy, perhaps the models too."""

    def copy() -> None:
        shutil.copytree(folder / "tuned", out)
        for path in sorted(path for name in hashed for path in (folder / name).glob("*.safetensors")):
            with path.open("rb") as stream:
                hashlib.file_digest(stream, "sha256")
        if durable:
            fsync_tree(out)

    return timed(copy)


def operation(folder: Path, healing: dict[str, object]) -> Operation:
    pair = ModelPair(str(folder / "base"), str(folder / "tuned"))
    return Operation(pair, healing_of(healing), cache=FactorCache(folder / "factors"))


def written(folder: Path, out: Path, healing: dict[str, object]) -> dict[str, float]:
    made = operation(folder, healing)
    return timed(lambda: write_checkpoint(made, out))


def rate(folder: Path) -> dict[str, float]:
    """Heal in memory, factors cached; return FLOPs, seconds, and the seconds of as many FLOPs in one large product."""
    made = operation(folder, {"name": "union", "k": SHARE})
    with counting() as counter:
        for _ in made.tensors():
            pass
    flops = float(counter.get_total_flops())
    healing = timed(lambda: [None for _ in made.tensors()])
    a, b = torch.randn(INNER, WIDTH), torch.randn(WIDTH, int(2 * SHARE * WIDTH))
    products = round(flops / (2 * a.shape[0] * a.shape[1] * b.shape[1]))
    product = timed(lambda: [None for _ in range(products) if (a @ b) is None])
    return {"flops": flops, **healing} | {f"product_{key}": value for key, value in product.items()}


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Return seconds by the clock and of all threads on processors."""
    started, busy = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - busy}


def peak(folder: Path, out: Path, healing: dict[str, object]) -> dict[str, float]:
    """Return by how much the process grows at most while a checkpoint is written, in MB (Linux)."""
    made = operation(folder, healing)
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before = resident("VmRSS")
    write_checkpoint(made, out)
    return {"peak": resident("VmHWM") - before}


def resident(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / MEGABYTE


INTERPOLATE: dict[str, object] = {"name": "interpolate", "strength": 0.3}
UNION: dict[str, object] = {"name": "union", "k": SHARE}
MEASUREMENTS: dict[str, Callable[[Path, Path], object]] = {
    "copy": lambda folder, out: copied(folder, out),
    "as many hashes": lambda folder, out: copied(folder, out, hashed=("base", "tuned", "out"), durable=True),
    "interpolate": lambda folder, out: written(folder, out, INTERPOLATE),
    "union": lambda folder, out: written(folder, out, UNION),
    "rate": lambda folder, _: rate(folder),
    "peak interpolate": lambda folder, out: peak(folder, out, INTERPOLATE),
    "peak union": lambda folder, out: peak(folder, out, UNION),
}


def ask(what: str, folder: Path) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--measure", what, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    shutil.rmtree(folder / "out", ignore_errors=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def factors_in_use() -> float:
    """Return MB of what the union of the largest matrix needs beside the matrix: all in float32.

    The cached vectors (R, R), both leading bases and both products (K wide each), and the two factors (2 K wide).
    """
    k = round(SHARE * WIDTH)
    return 4 * (WIDTH**2 + 4 * k * (WIDTH + INNER)) / MEGABYTE


def time_table(folder: Path, repeats: int) -> None:
    sides = ("copy", "as many hashes", "interpolate", "union")
    ask("union", folder)  # makes the factors
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side in sides:
            found[side].append(ask(side, folder))
    size = sum(path.stat().st_size for path in (folder / "tuned").glob("*.safetensors")) / MEGABYTE
    print(
        f"| writing {size:,.0f} MB | s | MB/s | of a copy's rate | of a copy's with as many hashes | CPU s |\n"
        "|---|---|---|---|---|---|"
    )
    names = {
        "copy": "copy the folder, SHA-256 of the copy",
        "as many hashes": "copy, SHA-256 of base, tuned and copy, durable",
        "interpolate": "`heal --healer interpolate`: the same hashes, durable",
        "union": f"`heal --healer union --k {SHARE}`, factors cached",
    }
    for side in sides:
        mine, busy = (least(found[side], key) for key in ("seconds", "cpu"))
        ratios = [least(found[other], "seconds") / mine for other in ("copy", "as many hashes")]
        print(
            f"| {names[side]} | {mine:.2f} | {size / mine:,.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} | {busy:.2f} |",
            flush=True,
        )


def least(found: list[dict[str, float]], key: str) -> float:
    """Return the least of several measurements: what other work on the machine adds is never negative."""
    return min(one[key] for one in found)


def rate_table(folder: Path, repeats: int) -> None:
    found = [ask("rate", folder) for _ in range(repeats)]
    gigaflops = found[0]["flops"] / 1e9
    print("| | GFLOP | s | GFLOP/s | of the plain product | CPU s |\n|---|---|---|---|---|---|")
    for words, prefix in (("one product of float32 matrices, repeated", "product_"), ("union of all matrices", "")):
        mine, busy = (least(found, prefix + key) for key in ("seconds", "cpu"))
        share = least(found, "product_seconds") / mine
        print(f"| {words} | {gigaflops:,.0f} | {mine:.2f} | {gigaflops / mine:,.0f} | {share:.2f} | {busy:.2f} |")


def memory_table(small: Path, large: Path) -> None:
    largest = 2 * VOCABULARY * WIDTH / MEGABYTE
    matrix = 2 * INNER * WIDTH / MEGABYTE
    print(
        f"Largest tensor {largest:.0f} MB (embeddings), largest matrix {matrix:.0f} MB, "
        f"its factors {factors_in_use():.0f} MB.\n"
    )
    print("| peak growth, MB | model | four times the blocks | ratio | allowed |\n|---|---|---|---|---|")
    for name, allowed in (("interpolate", 2 * largest + 64), ("union", 2 * largest + 64 + factors_in_use())):
        ask(name, large)  # factors are cached
        peaks = [statistics.median(ask(f"peak {name}", folder)["peak"] for _ in range(3)) for folder in (small, large)]
        print(f"| {name} | {peaks[0]:.0f} | {peaks[1]:.0f} | {peaks[1] / peaks[0]:.2f} | {allowed:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=16, help="Of the smaller model; the larger one has four times.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--measure", choices=MEASUREMENTS)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(MEASUREMENTS[chosen.measure](chosen.folder, chosen.folder / "out")))
        return
    print(f"{torch.get_num_threads()} thread(s) of {os.cpu_count()}, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as place:
        small, large = Path(place) / "small", Path(place) / "large"
        make(small, chosen.layers)
        make(large, 4 * chosen.layers)
        time_table(small, chosen.repeats)
        print()
        rate_table(small, chosen.repeats)
        print()
        memory_table(small, large)


if __name__ == "__main__":
    main()
