"""The embedded bases: what ships, what they have seen, and that their recipes still make them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from holdfast.environments import MIXTURES
from holdfast.environments.arithmetic.mixture import Mixture as Derivations
from holdfast.environments.general_points import rule_map
from holdfast.environments.general_points.mixture import Mixture
from holdfast.members import build
from holdfast.models.find import shipped
from holdfast.models.load import load
from holdfast.models.structure import roles
from holdfast.plan import exposure_label
from holdfast.selection import parse, select
from holdfast.train.pretrain import make_tokenizer, read_recipe

BASES = sorted(shipped())
CARD_PLAYERS = ["pocket", "pocket-neox"]
RECIPES = Path(__file__).parent.parent.parent / "recipes" / "pretrain"


def test_two_families_ship() -> None:
    families = {json.loads((folder / "config.json").read_text())["model_type"] for folder in shipped().values()}
    assert families == {"llama", "gpt_neox"}


@pytest.mark.parametrize("name", BASES)
def test_a_base_is_small_long_and_documented(name: str) -> None:
    folder = shipped()[name]
    config = json.loads((folder / "config.json").read_text())
    assert config["max_position_embeddings"] >= 2048
    assert 6 <= config["num_hidden_layers"] <= 12
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
    assert {"README.md", "exposure.json", "pretraining.yaml"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("preset", ["full", "mlp"])
def test_matched_depth_misses_by_a_few_percent_at_most(name: str, preset: str) -> None:
    matched = select(
        roles(load(name).model), parse({"preset": preset, "match": {"parameters_of": "attention"}})
    ).matched
    assert matched is not None
    assert abs(matched.mismatch) < 0.03


@pytest.mark.parametrize("name", CARD_PLAYERS)
def test_the_exposure_says_what_the_mixture_held_out(name: str) -> None:
    folder = shipped()[name]
    mixture = build("mixture", read_recipe(folder / "pretraining.yaml").mixture, MIXTURES)
    assert isinstance(mixture, Mixture)
    exposure = json.loads((folder / "exposure.json").read_text())
    assert exposure["environments"]["general_points"] == mixture.exposure()
    assert rule_map("faces_as_5_7_9") in {rule_map(rule) for rule in mixture.held_out_rules}
    for rule in mixture.held_out_rules:
        assert exposure_label(exposure, "general_points", rule) == "never seen"
    assert exposure_label(exposure, "general_points", "faces_as_11_12_13") == "known to the base"
    assert exposure_label(exposure, "general_points", "faces_as_10") == "known to the base"


@pytest.mark.parametrize("name", BASES)
def test_the_recipe_beside_a_base_is_the_one_that_users_are_told_to_run(name: str) -> None:
    assert read_recipe(shipped()[name] / "pretraining.yaml") == read_recipe(RECIPES / f"{name}.yaml")


@pytest.mark.parametrize("name", BASES)
def test_the_recipe_still_makes_the_tokenizer(name: str) -> None:
    # Fails when the words of an environment change: then a base made anew is another one and needs a new name.
    made = make_tokenizer(read_recipe(shipped()[name] / "pretraining.yaml"))
    assert made.get_vocab() == AutoTokenizer.from_pretrained(shipped()[name]).get_vocab()


def test_the_card_players_share_one_tokenizer() -> None:
    one, other = (AutoTokenizer.from_pretrained(shipped()[name]).get_vocab() for name in CARD_PLAYERS)
    assert one == other


def test_the_exposure_of_the_navigator_says_what_its_mixture_showed_and_held_out() -> None:
    exposure = json.loads((shipped()["pocket-town"] / "exposure.json").read_text())
    for rule in ("degrees", "tokens_1"):
        assert exposure_label(exposure, "navigation", rule) == "never seen"
    assert exposure_label(exposure, "navigation", "relative") == "known to the base"
    assert exposure_label(exposure, "general_points", "faces_as_10") == "never seen"
    shown = exposure["environments"]["navigation"]["answer_formats"]
    assert {"json", "object", "numbered_tagged"}.isdisjoint(shown)


def test_the_exposure_of_the_reckoner_says_what_its_mixture_showed_and_held_out() -> None:
    folder = shipped()["pocket-arithmetic"]
    exposure = json.loads((folder / "exposure.json").read_text())
    mixture = build("mixture", read_recipe(folder / "pretraining.yaml").mixture, MIXTURES)
    assert isinstance(mixture, Derivations)
    assert exposure["environments"]["arithmetic"] == mixture.exposure()
    for rule in ("times_first", "left_to_right", "plus_first"):
        assert exposure_label(exposure, "arithmetic", rule) == "known to the base"
    assert "foreign" not in exposure["environments"]["arithmetic"]["styles"]
