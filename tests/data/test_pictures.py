"""Pictures from messages to the inputs of a model, with the library's real processors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from holdfast.data.batches import collate, example_with_pictures
from holdfast.data.encode import encode_all, preview, prompt_ids
from holdfast.data.pictures import Span, image_inputs
from holdfast.data.sources import EnvironmentRows
from holdfast.environments.general_points import GeneralPoints
from holdfast.errors import DataError
from holdfast.models.counting import cost
from holdfast.models.load import Loaded, load
from holdfast.recipe import Decoding
from holdfast.records import Example, Message
from holdfast.rollout.generate import generate
from tiny_vision import WRITERS

CARDS = GeneralPoints(cards_as="picture", resolution=160, prompt_style="terse")
TEXT = GeneralPoints(prompt_style="terse")


@dataclass(frozen=True)
class NeverDrawn:
    """A picture that must not be drawn."""

    size: tuple[int, int] = (160, 160)

    def render(self) -> Image.Image:
        raise AssertionError("drawn")

    def to_json(self) -> dict[str, Any]:
        return {}

    def words(self) -> str:
        return "nothing"


@pytest.fixture(scope="module", params=sorted(WRITERS))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    base = load(str(WRITERS[request.param](tmp_path_factory.mktemp("model"))), attn_implementation="eager")
    with torch.no_grad():
        for parameter in base.model.parameters():
            if parameter.ndim > 1:  # default weights are so small that all candidates are nearly tied
                parameter.mul_(4)
    return base


def examples(environment: GeneralPoints, count: int) -> list[Example]:
    problems = [environment.sample("faces_as_10", "train", index, seed=0) for index in range(count)]
    return [Example(environment.prompt(problem), environment.demonstrate(problem)) for problem in problems]


def logits(base: Loaded, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        inputs = {name: value for name, value in tensors.items() if name != "labels"}
        out: torch.Tensor = base.model(**inputs, use_cache=False).logits
    return out


def test_the_tokens_of_a_prompt_with_a_picture_begin_those_of_its_example(loaded: Loaded) -> None:
    rows = encode_all(examples(CARDS, 3), loaded.speaker)
    asked = prompt_ids(loaded.speaker, [example.prompt for example in examples(CARDS, 3)])
    assert [list(row.prompt_ids) for row in rows] == asked
    image = loaded.model.config.image_token_id if loaded.model.config.model_type == "qwen2_5_vl" else None
    assert image is None or rows[0].prompt_ids.count(image) == 4  # 16 patches, merged four by four
    learned = loaded.tokenizer.decode(rows[0].input_ids[rows[0].n_prompt :])
    assert learned == examples(CARDS, 1)[0].completion + "<|end|>"
    assert preview(rows[0], loaded.speaker).startswith("[picture: the ")


def test_pictures_are_drawn_for_the_model_alone(loaded: Loaded) -> None:
    asked = (Message(role="user", content="make 24", images=(NeverDrawn(),)),)
    batch = collate(encode_all([Example(asked, "no")], loaded.speaker), pad_token_id=0)
    assert set(batch.token_tensors()) == {"input_ids", "attention_mask", "labels"}
    with pytest.raises(AssertionError, match="drawn"):
        batch.tensors()


def test_a_row_is_computed_alike_alone_and_in_a_batch_padded_on_either_side(loaded: Loaded) -> None:
    short = replace(examples(CARDS, 1)[0], completion="no")
    rows = encode_all([*examples(CARDS, 2), short], loaded.speaker)
    together = collate(rows, pad_token_id=0)
    right = logits(loaded, together.tensors())
    width = together.input_ids.shape[1]
    shift = [width - len(row.input_ids) for row in rows]
    assert any(shift)
    left = {
        name: torch.stack([value.roll(by, 0) for value, by in zip(values, shift, strict=True)])
        for name, values in together.token_tensors().items()
    }
    spans = [Span(by, width) for by in shift]
    left |= image_inputs([row.pictured for row in rows], [row.prompt_ids for row in rows], spans, width=width)
    mirrored = logits(loaded, left)
    for number, row in enumerate(rows):
        alone = logits(loaded, collate([row], pad_token_id=0).tensors())[0]
        torch.testing.assert_close(right[number, : len(alone)], alone, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mirrored[number, shift[number] :], alone, atol=1e-5, rtol=1e-4)


def test_what_a_model_answers_depends_on_the_picture_and_not_on_the_neighbors(loaded: Loaded) -> None:
    asked = [example.prompt for example in examples(CARDS, 18)]
    again = (Message(role="assistant", content="5+5"), Message(role="user", content="wrong"))
    asked = [(*own, *again) if number % 3 else own for number, own in enumerate(asked)]

    def said(some: list[Any], *, batch_size: int, temperature: float) -> list[str]:
        decoding = Decoding(max_new_tokens=6, temperature=temperature)
        replies = generate(
            loaded.model, loaded.speaker, some, decoding, batch_size=batch_size, compute_dtype=torch.float32
        )
        return [reply.text for reply in replies]

    sampled = said(asked, batch_size=18, temperature=1.0)
    assert said(asked[::-1], batch_size=5, temperature=1.0) == sampled[::-1]
    assert said(asked[:4], batch_size=4, temperature=0.0) == said(asked[:4], batch_size=1, temperature=0.0)
    red = replace(CARDS, suits="red").sample("faces_as_10", "train", 0, seed=0)
    one, other = (collate(encode_all([Example(p, "x")], loaded.speaker), pad_token_id=0) for p in (
        examples(CARDS, 1)[0].prompt, CARDS.prompt(red)))  # fmt: skip
    assert not torch.equal(logits(loaded, one.tensors()), logits(loaded, other.tensors()))


def test_text_beside_pictures_is_computed_as_alone_or_refused(loaded: Loaded) -> None:
    rows = encode_all([*examples(TEXT, 1), *examples(CARDS, 1)], loaded.speaker)
    together = collate(rows, pad_token_id=0)
    if loaded.model.config.model_type == "mllama":
        with pytest.raises(DataError, match=r"rows \[0\] of a batch have no picture.*cross_attention_mask"):
            together.tensors()
        return
    alone = logits(loaded, collate(rows[:1], pad_token_id=0).tensors())[0]
    torch.testing.assert_close(logits(loaded, together.tensors())[0, : len(alone)], alone, atol=1e-5, rtol=1e-4)


def test_text_alone_needs_no_image_inputs(loaded: Loaded) -> None:
    batch = collate(encode_all(examples(TEXT, 2), loaded.speaker), pad_token_id=0)
    assert set(batch.tensors()) == {"input_ids", "attention_mask", "labels"}
    assert encode_all(examples(TEXT, 2), loaded.tokenizer)[0].input_ids == batch.rows[0].input_ids


def test_a_tokenizer_alone_takes_no_pictures_and_no_placeholder_may_be_written(loaded: Loaded) -> None:
    with pytest.raises(DataError, match="processor"):
        encode_all(examples(CARDS, 1), loaded.tokenizer)
    forged = (Message(role="user", content=loaded.processor.image_token, images=(NeverDrawn(),)),)  # type: ignore[union-attr]
    with pytest.raises(DataError, match="one placeholder for each picture"):
        encode_all([Example(forged, "x")], loaded.speaker)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [("",), ("language_model", ".self_attn.")], ids=["full", "attention"])
def test_pictures_are_priced_as_they_are_computed(loaded: Loaded, parts: tuple[str, ...]) -> None:
    names = [name for name, _ in loaded.model.named_parameters() if all(part in name for part in parts)]
    source = EnvironmentRows(CARDS, rule="faces_as_10", split="train", seed=0, size=3, tokenizer=loaded.speaker)
    priced = cost(loaded.model, names, example=example_with_pictures(source))
    tensors = collate(source.take([0, 1, 2]), pad_token_id=0).tensors()
    inputs = {name: value for name, value in tensors.items() if name != "labels"}
    for name, parameter in loaded.model.named_parameters():
        parameter.requires_grad_(name in names)
    with FlopCounterMode(display=False) as counter:
        loaded.model(**inputs, use_cache=False).logits.sum().backward()
    loaded.model.zero_grad(set_to_none=True)
    rows, length = tensors["input_ids"].shape
    assert priced.exact
    assert priced.step_flops((rows, length), rows * length) == counter.get_total_flops()
    assert priced.picture_uses > 0
    assert (priced.picture_uses_trainable > 0) == (parts == ("",))
