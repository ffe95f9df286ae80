"""Weights are streamed: what is written is what is read, and a malformed file is refused."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from holdfast.errors import ModelError
from holdfast.models.safetensors_file import DTYPES, TensorSpec, read_header, read_tensor, write_file
from holdfast.models.tensors import TensorFolder, weight_files, write_folder
from tiny_models import build


def zoo() -> dict[str, torch.Tensor]:
    """One tensor of each dtype, of odd sizes, and the special shapes and values."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"dtype.{code}": torch.randint(0, 2, (3, 5), generator=generator).to(dtype) for code, dtype in DTYPES.items()
    }
    return tensors | {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4),
        "special": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "five.dimensions": torch.randn(1, 2, 1, 3, 2, generator=generator),
        "transposed": torch.randn(4, 3, generator=generator).T,
    }


def specs(tensors: dict[str, torch.Tensor]) -> list[TensorSpec]:
    return [TensorSpec(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]


def identical(left: torch.Tensor, right: torch.Tensor) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.contiguous().reshape(-1).view(torch.uint8).equal(right.contiguous().reshape(-1).view(torch.uint8))
    )


@pytest.mark.parametrize("max_shard_bytes", [1, 64, 10**9])
def test_what_is_written_is_what_is_read(tmp_path: Path, max_shard_bytes: int) -> None:
    tensors = zoo()
    files = write_folder(tmp_path, specs(tensors), tensors=tensors.items(), max_shard_bytes=max_shard_bytes)
    folder = TensorFolder(tmp_path)
    assert folder.names() == tuple(sorted(tensors))
    assert (len(files) == 1) is (max_shard_bytes == 10**9)
    for name, tensor in tensors.items():
        assert identical(folder.read(name), tensor), name
        assert (folder.dtype(name), folder.shape(name)) == (tensor.dtype, tuple(tensor.shape))


def test_the_reference_reader_agrees(tmp_path: Path) -> None:
    tensors = zoo()
    write_folder(tmp_path, specs(tensors), tensors=tensors.items(), metadata={"note": "ours"})
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        assert identical(tensor, tensors[name]), name
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "ours"}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    folder = TensorFolder(tmp_path)
    assert all(identical(folder.read(name), tensor) for name, tensor in tensors.items())


def test_transformers_reads_a_sharded_folder_of_ours(tmp_path: Path) -> None:
    model = build("llama")
    tensors = dict(model.state_dict())
    write_folder(tmp_path, specs(tensors), tensors=tensors.items(), max_shard_bytes=8000)
    model.config.save_pretrained(tmp_path)
    assert len(weight_files(tmp_path)) > 1
    again = type(model).from_pretrained(tmp_path)
    assert all(identical(tensor, tensors[name]) for name, tensor in again.state_dict().items())


def test_every_tensor_starts_at_a_multiple_of_its_item_size(tmp_path: Path) -> None:
    tensors = zoo()
    write_folder(tmp_path, specs(tensors), tensors=tensors.items())
    for place in read_header(tmp_path / "model.safetensors").values():
        assert place.start % place.dtype.itemsize == 0


@pytest.mark.parametrize(
    "given",
    [
        [("a", torch.zeros(2))],
        [("a", torch.zeros(2)), ("b", torch.zeros(4))],
        [("b", torch.zeros(3)), ("a", torch.zeros(2))],
        [("a", torch.zeros(2)), ("b", torch.zeros(3, dtype=torch.float16))],
        [("a", torch.zeros(2)), ("b", torch.zeros(3)), ("c", torch.zeros(1))],
    ],
)
def test_other_tensors_than_announced_are_refused(tmp_path: Path, given: list[tuple[str, torch.Tensor]]) -> None:
    announced = [TensorSpec("a", torch.float32, (2,)), TensorSpec("b", torch.float32, (3,))]
    with pytest.raises(ModelError, match="announced"):
        write_folder(tmp_path, announced, tensors=given)


def test_a_name_announced_twice_is_refused(tmp_path: Path) -> None:
    twice = [TensorSpec("a", torch.float32, (2,))] * 2
    with pytest.raises(ModelError, match="twice"):
        write_folder(tmp_path, twice, tensors=[("a", torch.zeros(2))] * 2)


def raw(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


MALFORMED: dict[str, tuple[Any, bytes, int | None]] = {
    "empty object in an empty file": (b"", b"", None),
    "header longer than the file": ({"a": entry()}, bytes(8), 10_000),
    "header of 2^63 bytes": ({"a": entry()}, bytes(8), 2**63),
    "header length 0": ({}, b"", 0),
    "header of 100 MB": (b"{" + b" " * 20, b"", 100_000_001),
    "leading space": (b" {}", b"", None),
    "not JSON": (b"{nonsense}", b"", None),
    "cut JSON": (b'{"a":', b"", None),
    "bad UTF-8": (b'{"\xff\xfe": 1}', b"", None),
    "a list": (b"[]", b"", None),
    "deep JSON": (b'{"a":' * 100_000, b"", None),
    "name twice": (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],'
                   b'"data_offsets":[0,8]}}', bytes(8), None),
    "key twice in an entry": (b'{"a":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}', bytes(8), None),
    "unknown dtype": ({"a": entry("F99")}, bytes(8), None),
    "dtype a number": ({"a": entry(7)}, bytes(8), None),
    "negative shape": ({"a": entry(shape=(-1, -2))}, bytes(8), None),
    "fractional shape": ({"a": entry(shape=(2.0,))}, bytes(8), None),
    "shape of a truth value": ({"a": entry("F32", (True, 2))}, bytes(8), None),
    "shape overflow": ({"a": entry(shape=(2**62, 4))}, bytes(8), None),
    "shape of 2^64": ({"a": entry(shape=(2**64,))}, bytes(8), None),
    "offsets too short": ({"a": entry(offsets=(0, 4))}, bytes(4), None),
    "offsets reversed": ({"a": entry(offsets=(8, 0))}, bytes(8), None),
    "negative offset": ({"a": entry(offsets=(-8, 0))}, bytes(8), None),
    "three offsets": ({"a": entry(offsets=(0, 4, 8))}, bytes(8), None),
    "beyond the file": ({"a": entry()}, bytes(4), None),
    "data left over": ({"a": entry()}, bytes(9), None),
    "hole": ({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20), None),
    "overlap": ({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12), None),
    "same place twice": ({"a": entry(), "b": entry()}, bytes(8), None),
    "start not at 0": ({"a": entry(offsets=(4, 12))}, bytes(12), None),
    "metadata a list": ({"__metadata__": [], "a": entry()}, bytes(8), None),
    "metadata of numbers": ({"__metadata__": {"a": 1}, "a": entry()}, bytes(8), None),
    "entry a word": ({"a": "F32"}, bytes(8), None),
    "entry with more": ({"a": entry() | {"more": 1}}, bytes(8), None),
    "entry with less": ({"a": {"dtype": "F32"}}, bytes(8), None),
    "name that climbs": ({"../a": entry()}, bytes(8), None),
    "name with NUL": ({"a\0b": entry()}, bytes(8), None),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, case: str) -> None:
    header, data, length = MALFORMED[case]
    path = raw(tmp_path / "model.safetensors", header, data, length=length)
    with pytest.raises(ModelError, match=r"model\.safetensors") as caught:
        TensorFolder(tmp_path)
    assert len(str(caught.value)) < 600 + len(str(path))


@pytest.mark.parametrize("content", [b"", b"\x01", bytes(8)])
def test_a_file_too_short_for_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="not a safetensors file"):
        TensorFolder(tmp_path)


def test_no_mutation_of_a_file_crashes_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    small = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(3)}
    write_file(path, specs(small), tensors=small.items(), metadata={"format": "pt"})
    whole, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        mutant = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            mutant[rng.randrange(len(mutant) - 48)] = rng.randrange(256)
        path.write_bytes(mutant[: rng.choice([len(mutant), rng.randrange(len(mutant))])])
        try:
            for name, place in read_header(path).items():
                read_tensor(name, place)
        except ModelError:
            refused += 1
    assert refused > 250


def shards(folder: Path) -> dict[str, str]:
    """Write two tensors in two shards; return the weight map."""
    tensors = {"a": torch.zeros(2), "b": torch.ones(3)}
    write_folder(folder, specs(tensors), tensors=tensors.items(), max_shard_bytes=8)
    weight_map: dict[str, str] = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    return weight_map


def put_index(folder: Path, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps({"weight_map": content})
    (folder / "model.safetensors.index.json").write_text(text)


@pytest.mark.parametrize("name", ["../model.safetensors", "/model.safetensors", "a\\b", "a\0b", "C:b", ".", "..", ""])
def test_a_shard_that_is_not_a_plain_name_is_refused(tmp_path: Path, name: str) -> None:
    put_index(tmp_path, shards(tmp_path) | {"a": name})
    with pytest.raises(ModelError, match="not a plain file name"):
        TensorFolder(tmp_path)


def test_an_index_that_disagrees_with_its_shards_is_refused(tmp_path: Path) -> None:
    weight_map = shards(tmp_path)
    swapped = {"a": weight_map["b"], "b": weight_map["a"]}
    for wrong, words in (
        (swapped, "says tensor 'a' is in"),
        (weight_map | {"c": weight_map["a"]}, "promises tensor 'c'"),
        (weight_map | {"c": "model-00009.safetensors"}, "which is missing"),
        ({"a": weight_map["a"], "b": 3}, "not a file name"),
        ({}, "no weight_map"),
        ("[]", "JSON object"),
        ("{", "not JSON"),
        ('{"weight_map": {"a": "x", "a": "y"}}', "twice"),
    ):
        put_index(tmp_path, wrong)
        with pytest.raises(ModelError, match=words):
            TensorFolder(tmp_path)


def test_a_tensor_in_two_shards_or_in_no_index_is_refused(tmp_path: Path) -> None:
    weight_map = shards(tmp_path)
    both = {"a": torch.zeros(2), "b": torch.ones(3)}
    write_file(tmp_path / weight_map["b"], specs(both), tensors=both.items())
    with pytest.raises(ModelError, match="'a' is in"):
        TensorFolder(tmp_path)
    other = {"b": torch.ones(3), "c": torch.ones(3)}
    write_file(tmp_path / weight_map["b"], specs(other), tensors=other.items())
    with pytest.raises(ModelError, match=r"not in .*'c'"):
        TensorFolder(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds neither"):
        TensorFolder(tmp_path)


def test_a_tensor_that_is_not_there_and_a_file_cut_meanwhile_are_refused(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(100)}
    write_folder(tmp_path, specs(tensors), tensors=tensors.items())
    folder = TensorFolder(tmp_path)
    with pytest.raises(ModelError, match="no tensor 'b'"):
        folder.read("b")
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(300)
    with pytest.raises(ModelError, match="ends inside"):
        folder.read("a")


STREAM = """
import resource, sys
from pathlib import Path
import torch
from holdfast.models.tensors import TensorFolder, write_folder
source, target = Path(sys.argv[1]), Path(sys.argv[2])
torch.zeros(1).add(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder = TensorFolder(source)
specs = [folder.spec(name) for name in folder.names()]
write_folder(target, specs, tensors=((name, folder.read(name)) for name in folder.names()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_copy_needs_the_memory_of_one_tensor_and_not_of_the_model(tmp_path: Path) -> None:
    each, many = 8 * 2**20, 24

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        for k in range(many):
            yield f"t{k:02}", torch.full((each // 4,), float(k))

    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    announced = [TensorSpec(f"t{k:02}", torch.float32, (each // 4,)) for k in range(many)]
    write_folder(tmp_path / "source", announced, tensors=tensors())
    command = [sys.executable, "-c", STREAM, str(tmp_path / "source"), str(tmp_path / "target")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024
    assert (tmp_path / "target" / "model.safetensors").stat().st_size > many * each
    assert grown <= 3 * each
