import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest
import torch
import transformers as hf

from holdfast.data.encode import encode_all, prompt_ids
from holdfast.environments.base import Revision
from holdfast.environments.general_points.answer_formats import ANSWER_FORMATS
from holdfast.environments.general_points.cards import CARD_TEXTS
from holdfast.environments.general_points.environment import GeneralPoints
from holdfast.environments.general_points.prompts import PROMPT_STYLES
from holdfast.environments.general_points.rules import RULES, find_rule
from holdfast.errors import DataError, NotRecorded, UnknownName, UserError
from holdfast.evaluate.evaluate import estimates_of, evaluate, score_replies
from holdfast.evaluate.samples import compare, read_samples, samples_path, write_samples
from holdfast.evaluate.scorers import contains, exact
from holdfast.evaluate.suite import Suite, half, make, make_all, rules_in_play, suite_read
from holdfast.models import word_tokenizer
from holdfast.recipe import Data, Decoding, Recipe, SuiteSpec
from holdfast.records import Example, Message, Outcome, Problem, Verdict
from holdfast.rollout.generate import spoken

TOKENIZER = word_tokenizer.build(["twice thrice right wrong"])


@dataclass(frozen=True)
class Doubling:
    name: ClassVar[str] = "doubling"
    multi_step: ClassVar[bool] = False
    rules: tuple[str, ...] = ("twice", "thrice")

    def sample(self, rule, split, index, *, seed):
        number = Random(f"{seed} {split} {index}").randrange(60)
        return Problem(self.name, rule, split, index, seed, key=str(number), facts={"number": number})

    def prompt(self, problem):
        return (Message(role="user", content=f"{problem.rule} {problem.facts['number']}"),)

    def steps(self, problem):
        return (problem,)

    def begin(self, problem, *, attempts=1):
        return Revision.start(self, problem, attempts=attempts)

    def demonstrate(self, problem):
        return str(problem.facts["number"] * {"twice": 2, "thrice": 3}[problem.rule])

    def verify(self, problem, reply):
        number = problem.facts["number"]
        if not reply.strip().isdecimal():
            return Verdict(Outcome.UNPARSED, -1.0, "no_number", "Say a number.", {"small": None})
        right = reply.strip() == self.demonstrate(problem)
        outcome = Outcome.CORRECT if right else Outcome.WRONG
        return Verdict(outcome, float(right), "right" if right else "wrong", "Try again.", {"small": number < 30})


def suite(*, halves=False, attempts=1, samples=1, size=40, rule="twice", environment=None) -> Suite:
    return Suite(
        "toy", "id", environment or Doubling(), rule, size, size, "test", 7, attempts,
        Decoding(max_new_tokens=8, samples=samples), halves,
    )  # fmt: skip


def demonstrations(asked: Suite) -> list[tuple[str]]:
    return [(asked.environment.demonstrate(episode.problem),) for episode in asked.episodes()]


def through_tokens(asked: Suite, tokenizer) -> list[tuple[str]]:
    """Demonstrations as a perfect model would say them: the learned tokens of each, turned back into text."""
    examples = [
        Example(asked.environment.prompt(p), asked.environment.demonstrate(p), f"problem {p.index}")
        for p in asked.problems()
    ]
    rows = encode_all(examples, tokenizer)
    prompts = prompt_ids(tokenizer, [example.prompt for example in examples])
    for row, prompt in zip(rows, prompts, strict=True):
        assert list(row.input_ids[: row.n_prompt]) == prompt
    return [(text,) for text in spoken(tokenizer, [row.input_ids[row.n_prompt :] for row in rows])]


def test_demonstrations_score_one_hundred_percent():
    result = score_replies(suite(), through_tokens(suite(), TOKENIZER))
    assert result.estimates["eval_toy_success"].value == 1.0
    assert all(sample.outcome is Outcome.CORRECT and sample.solved_at == 1 for sample in result.samples)


GAME_TOKENIZER = word_tokenizer.build([*PROMPT_STYLES.values(), "jack queen king ace of hearts spades"])
LOOKS = list(itertools.product((*PROMPT_STYLES, "paraphrase"), CARD_TEXTS, ANSWER_FORMATS))
SUITED = tuple(rule for rule in RULES if find_rule(rule).reads_suits)
PLAIN = tuple(rule for rule in RULES if not find_rule(rule).reads_suits)


def assert_demonstrations_pass(game: GeneralPoints, rule: str, *, size: int = 3) -> None:
    # That a formula is right is the environment's law; here every text also passes template, tokens and decoding.
    asked = suite(environment=game, rule=rule, size=size)
    result = score_replies(asked, through_tokens(asked, GAME_TOKENIZER))
    assert result.estimates["eval_toy_success"].value == 1.0, (game, rule, result.samples[0])
    assert result.estimates["eval_toy_format_ok"].value == 1.0


def test_demonstrations_of_every_style_wording_and_format_score_one_hundred_percent():
    for style, text, form in LOOKS:
        game = GeneralPoints(prompt_style=style, card_text=text, answer_format=form, mode="strict_format")
        assert_demonstrations_pass(game, "faces_as_11_12_13")


def test_demonstrations_of_every_rule_that_reads_no_suits_score_one_hundred_percent():
    for rule in PLAIN:
        assert_demonstrations_pass(GeneralPoints(rules=PLAIN, mode="strict_format"), rule)


@pytest.mark.slow  # every hand of 26 kinds of card is solved once
def test_demonstrations_of_every_rule_that_reads_suits_score_one_hundred_percent():
    for rule in SUITED:
        assert_demonstrations_pass(GeneralPoints(rules=SUITED, card_text="long", mode="strict_format"), rule)


def test_hand_counted_replies_give_hand_counted_estimates():
    asked = suite(size=4)
    right = [reply for (reply,) in demonstrations(asked)]
    result = score_replies(asked, [(right[0],), ("no idea",), ("1",), (right[3] + "\n",)])
    assert [sample.outcome.value for sample in result.samples] == ["correct", "unparsed", "wrong", "correct"]
    assert result.estimates["eval_toy_success"].value == 0.5
    assert result.estimates["eval_toy_format_ok"].value == 0.75
    small = result.estimates["eval_toy_small"]
    assert small.n == 3, "a fact that is None does not count"
    assert set(result.estimates) == {"eval_toy_success", "eval_toy_format_ok", "eval_toy_small"}


def test_problems_with_one_key_count_once():
    asked = suite(size=200)  # 60 numbers: keys repeat
    estimate = score_replies(asked, demonstrations(asked)).estimates["eval_toy_success"]
    assert (estimate.n, estimate.method) == (200, "wilson_clusters")
    assert estimate.clusters == len({problem.key for problem in asked.problems()}) < 61


def test_a_split_suite_names_its_report_half_plainly_and_its_select_half_select():
    asked = suite(halves=True, size=60)
    replies = [
        (reply,) if asked.half_of(p) == "report" else ("x",)
        for p, (reply,) in zip(asked.problems(), demonstrations(asked), strict=True)
    ]
    estimates = score_replies(asked, replies).estimates
    assert estimates["eval_toy_success"].value == 1.0
    assert estimates["eval_toy_success_select"].value == 0.0
    assert estimates["eval_toy_success"].n + estimates["eval_toy_success_select"].n == 60


def test_a_suite_that_no_signal_reads_is_not_split():
    result = score_replies(suite(), demonstrations(suite()))
    assert {sample.half for sample in result.samples} == {"all"}
    assert not [name for name in result.estimates if name.endswith("_select")]


def test_problems_with_one_key_or_one_pair_lie_in_one_half():
    halves = {}
    asked = suite(halves=True, size=300)
    for problem in asked.problems():
        assert halves.setdefault(problem.key, asked.half_of(problem)) == asked.half_of(problem)
    assert 80 < [half(str(n)) for n in range(200)].count("select") < 120
    paired = replace(asked.problems()[0], facts={"pair": "J J 5 6"})
    other = replace(asked.problems()[1], facts={"pair": "J J 5 6"})
    assert asked.half_of(paired) == asked.half_of(other) == half("J J 5 6")


def test_the_halves_are_the_recorded_ones():
    # Recorded once: tables of old and new runs compare only as long as this holds.
    assert [half(key) for key in "abcdefgh"] == RECORDED


def test_success_at_k_counts_a_problem_solved_in_revision():
    asked = suite(attempts=3, size=3)
    right = [reply for (reply,) in demonstrations(asked)]
    result = score_replies(asked, [(right[0],), ("x", "0" * 9, right[1]), ("x", "y", "z", right[2])])
    assert [sample.solved_at for sample in result.samples] == [1, 3, None]
    assert [len(sample.replies) for sample in result.samples] == [1, 3, 3]
    assert result.estimates["eval_toy_success"].value == pytest.approx(1 / 3)
    assert result.estimates["eval_toy_success_at_3"].value == pytest.approx(2 / 3)


def test_repeated_samples_are_bootstrapped_by_problem():
    asked = suite(samples=4, size=40)
    replies = [(reply,) if number % 4 < number % 7 else ("x",) for number, (reply,) in enumerate(demonstrations(asked))]
    estimate = score_replies(asked, replies).estimates["eval_toy_success"]
    assert (estimate.n, estimate.method) == (160, "cluster_bootstrap")
    assert estimate.low < estimate.value < estimate.high


def test_repeated_samples_that_are_all_right_still_have_an_interval():
    asked = suite(samples=4, size=40)
    estimate = score_replies(asked, demonstrations(asked)).estimates["eval_toy_success"]
    assert estimate.value == 1.0
    assert 0 < estimate.low < 1


def test_pass_at_k_of_a_suite_is_the_mean_over_problems_with_an_interval_over_keys():
    asked = suite(samples=4, size=40)
    right = [number % 40 % (number // 40 + 2) == 0 for number in range(160)]
    replies = [(reply,) if ok else ("x",) for ok, (reply,) in zip(right, demonstrations(asked), strict=True)]
    estimates = score_replies(asked, replies).estimates
    assert [name for name in estimates if "pass_at" in name] == ["eval_toy_pass_at_2", "eval_toy_pass_at_4"]
    for k in (2, 4):
        # Over all ways to keep k of a problem's four answers: how many hold a right one?
        kept = [any(own) for start in range(0, 160, 4) for own in itertools.combinations(right[start : start + 4], k)]
        told = estimates[f"eval_toy_pass_at_{k}"]
        assert told.value == pytest.approx(sum(kept) / len(kept))
        assert (told.n, told.clusters) == (40, len({problem.key for problem in asked.problems()}))
        assert told.low < told.value < told.high
    assert estimates["eval_toy_success"].value == sum(right) / 160, "avg@4"


def test_pass_at_k_of_a_split_suite_is_told_of_both_halves():
    asked = suite(samples=2, halves=True, size=60)
    replies = [
        (r,) if asked.half_of(e.problem) == "report" else ("x",)
        for e, (r,) in zip(asked.episodes(), demonstrations(asked), strict=True)
    ]
    estimates = score_replies(asked, replies).estimates
    assert (estimates["eval_toy_pass_at_2"].value, estimates["eval_toy_pass_at_2_select"].value) == (1.0, 0.0)


def test_replies_that_do_not_fit_the_suite_are_refused():
    with pytest.raises(DataError, match="2 replies for 40 questions"):
        score_replies(suite(), [("a",), ("b",)])
    with pytest.raises(DataError, match="question 0 has no reply"):
        score_replies(suite(size=1), [()])


def test_fewer_problems_are_the_first_of_more():
    assert suite().problems(5) == suite().problems()[:5]


def tiny_llama():
    config = hf.LlamaConfig(
        vocab_size=len(TOKENIZER), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize("attempts", [1, 2])
def test_evaluating_a_model_is_generating_then_scoring_the_replies(attempts):
    asked, model = suite(attempts=attempts, size=12, halves=True), tiny_llama()
    result = evaluate(model, TOKENIZER, asked, batch_size=5, compute_dtype=torch.float32)
    again = score_replies(asked, [sample.replies for sample in result.samples])
    assert again.samples == result.samples
    assert again.estimates == result.estimates
    assert all(len(sample.replies) == attempts for sample in result.samples)
    assert result.generated_tokens >= result.unfinished * 8
    assert evaluate(model, TOKENIZER, asked, batch_size=1, compute_dtype=torch.float32) == result


def test_a_smaller_evaluation_asks_the_first_problems_only():
    result = evaluate(tiny_llama(), TOKENIZER, suite(), batch_size=8, compute_dtype=torch.float32, n=3)
    assert [sample.index for sample in result.samples] == [0, 1, 2]


# --- the user's own rows


def write(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def file_suite(path: str, scorer: str = "exact", **options) -> Suite:
    spec = SuiteSpec(path=path, purpose="retention", scorer=scorer)
    return make("mine", spec, data=Data(path=path), rules_in_play=(), read_by_signal=False, **options)


def test_exact_and_contains_judge_rows_of_every_form(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        {"prompt": "2 + 2?", "completion": "4"},
        {"messages": [{"role": "user", "content": "3 + 3?"}, {"role": "assistant", "content": " 6\n"}]},
    )
    said = [("4\n",), ("It is 6 .",)]
    assert score_replies(file_suite(path), said).estimates["eval_mine_success"].value == 0.5
    assert score_replies(file_suite(path, "contains"), said).estimates["eval_mine_success"].value == 1.0


def test_a_file_suite_asks_no_more_than_its_rows_and_demonstrations_score_one_hundred_percent(tmp_path):
    path = write(tmp_path / "a.jsonl", *[{"prompt": f"say {n}", "completion": f" {n} !"} for n in range(7)])
    asked = file_suite(path)
    assert (asked.size, asked.purpose, asked.size_during) == (7, "retention", 7)
    assert score_replies(asked, through_tokens(asked, TOKENIZER)).estimates["eval_mine_success"].value == 1.0


def test_rows_with_the_same_prompt_are_one_problem(tmp_path):
    path = write(tmp_path / "a.jsonl", *[{"prompt": f"say {n // 2}", "completion": "x"} for n in range(10)])
    estimate = score_replies(file_suite(path), [("x",)] * 10).estimates["eval_mine_success"]
    assert (estimate.n, estimate.clusters) == (10, 5)


def test_the_scorers_take_texts_and_messages_alike():
    spoken_message = [{"role": "assistant", "content": " a\n"}]
    assert exact(["q", "q"], [spoken_message, "b"], answer=["a", "a"], level=[1, 2]) == [1.0, 0.0]
    assert contains(["q"], [spoken_message], answer=["a"], trainer_state=None) == [1.0]


def test_an_outsiders_scorer_needs_allow_code_and_may_grade_and_abstain(tmp_path, monkeypatch):
    (tmp_path / "their_scorer.py").write_text(
        "def graded(prompts, completions, completion_ids=None, trainer_state=None, *, level, **columns):\n"
        "    assert list(columns) == ['answer'] and prompts[0][0]['role'] == 'user'\n"
        "    return [None if one is None else one / 4 for one in level]\n"
        "def broken(prompts, completions, **columns):\n"
        "    return ['yes']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    levels = [None, 4, 2, 2, *[1, 3] * 6]
    path = write(
        tmp_path / "a.jsonl",
        *[{"prompt": f"p{n}", "completion": "c", "level": level} for n, level in enumerate(levels)],
    )
    with pytest.raises(UserError, match="allow-code"):
        file_suite(path, "their_scorer:graded")
    asked = file_suite(path, "their_scorer:graded", allow_code=True)
    estimates = score_replies(asked, [("x",)] * len(levels)).estimates
    assert (estimates["eval_mine_success"].n, estimates["eval_mine_success"].value) == (15, 1 / 15)
    assert estimates["eval_mine_score"].value == pytest.approx((4 + 2 + 2 + 6 * 4) / 4 / 15)
    assert estimates["eval_mine_score"].method == "cluster_bootstrap"
    with pytest.raises(DataError, match="must return a list of one number"):
        score_replies(file_suite(path, "their_scorer:broken", allow_code=True), [("x",)] * len(levels))


def test_an_unknown_scorer_is_named(tmp_path):
    with pytest.raises(UnknownName, match='Did you mean "exact"'):
        file_suite(write(tmp_path / "a.jsonl", {"prompt": "a", "completion": "b"}), "exacct")


# --- from the recipe


def recipe(**suites) -> Recipe:
    return Recipe.model_validate(
        {
            "model_name_or_path": "pocket", "learning_rate": 1e-3, "budget": {"steps": 1}, "suites": suites,
            "data": {
                "environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "card_text": "long",
            },
        }
    )  # fmt: skip


ID = {"environment": "general_points", "purpose": "id", "size": 20}
OOD = {"environment": "general_points", "purpose": "ood", "rule": "faces_as_11_12_13", "card_text": "ranks", "size": 20}


def test_a_suite_inherits_rule_and_options_of_the_data_block_of_the_same_environment():
    suites = make_all(recipe(id=ID, ood=OOD))
    assert [s.rule for s in suites] == ["faces_as_10", "faces_as_11_12_13"]
    assert [(s.environment.prompt_style, s.environment.card_text) for s in suites] == [
        ("terse", "long"),
        ("terse", "ranks"),
    ]
    for one in suites:
        assert one.environment.rules == ("faces_as_10", "faces_as_11_12_13")


def test_the_training_rule_is_the_first_in_play_and_each_rule_counts_once():
    far = {**OOD, "rule": "faces_as_7"}
    assert rules_in_play(recipe(far=far, id=ID, ood=OOD, again=far)) == (
        "faces_as_10",
        "faces_as_7",
        "faces_as_11_12_13",
    )
    assert rules_in_play(recipe(id=ID), "another_environment") == ()


def test_only_a_suite_that_a_signal_reads_is_split():
    suites = make_all(recipe(id=ID, ood=OOD, ood_far=OOD), reads=("eval_ood_far_success", "kl"))
    assert [one.halves for one in suites] == [False, False, True]
    assert suite_read("train_loss", ["ood"]) is None


def test_suites_do_not_share_problems_with_training_or_with_each_others_training_rule():
    asked_id, asked_ood = make_all(recipe(id=ID, ood=OOD))
    environment = asked_id.environment
    learned = {environment.sample("faces_as_10", "train", n, seed=0).key for n in range(200)}
    assert not learned & {problem.key for problem in (*asked_id.problems(), *asked_ood.problems())}


def test_a_suite_without_source_or_rule_is_refused():
    data = Data(path="x.jsonl")
    for spec, says in [
        (SuiteSpec(purpose="id"), "either an environment with a rule, or a path"),
        (SuiteSpec(purpose="id", environment="general_points"), "rule is missing"),
    ]:
        with pytest.raises(UserError, match=says):
            make("id", spec, data=data, rules_in_play=(), read_by_signal=False)


def test_the_fingerprint_tells_apart_what_is_asked_and_how_and_nothing_else():
    same = suite().fingerprint()
    assert suite(halves=True).fingerprint() == same
    others = [suite(size=41), suite(rule="thrice"), suite(attempts=2), suite(samples=2)]
    assert len({same, *(other.fingerprint() for other in others)}) == 5


# --- on disk, and compared


def test_samples_come_back_from_disk_whatever_the_model_said(tmp_path):
    asked = suite(size=4)
    result = score_replies(asked, [("\ud800 \x00 \u2028",), ("1\n2",), ("数",), ("",)])
    path = write_samples(tmp_path, "toy", 12, result.samples)
    assert path == samples_path(tmp_path, "toy", 12) == tmp_path / "samples" / "toy" / "12.jsonl"
    assert read_samples(tmp_path, "toy", 12) == result.samples
    assert estimates_of(asked, read_samples(tmp_path, "toy", 12)) == result.estimates
    assert [found.name for found in path.parent.iterdir()] == ["12.jsonl"]


def test_writing_that_fails_leaves_the_old_samples(tmp_path):
    result = score_replies(suite(size=2), [("1",), ("2",)])
    write_samples(tmp_path, "toy", 0, result.samples)
    with pytest.raises(TypeError):
        write_samples(tmp_path, "toy", 0, [*result.samples, replace(result.samples[0], facts={"x": object()})])
    assert read_samples(tmp_path, "toy", 0) == result.samples
    assert len(list((tmp_path / "samples" / "toy").iterdir())) == 1


def test_samples_that_are_not_there_are_named(tmp_path):
    with pytest.raises(NotRecorded, match="no samples of suite 'toy' at step 3"):
        read_samples(tmp_path, "toy", 3)


def test_comparing_joins_by_index_and_reads_only_the_report_half():
    asked = suite(halves=True, size=60)
    right, wrong = demonstrations(asked), [("x",)] * 60
    all_right, all_wrong = score_replies(asked, right).samples, score_replies(asked, wrong).samples
    paired = compare(all_right, tuple(reversed(all_wrong))[:-5])
    reported = [sample for sample in all_right[5:] if sample.half == "report"]
    assert (paired.n, paired.only_first, paired.only_second, paired.difference) == (
        len(reported),
        len(reported),
        0,
        -1.0,
    )
    assert compare(all_right, all_right).p_value == 1.0


def test_repeated_samples_are_compared_by_the_mean_of_each_problem():
    many = suite(size=10, samples=2)
    right = demonstrations(many)
    half = [reply if number % 2 else ("x",) for number, reply in enumerate(right)]
    paired = compare(score_replies(many, right).samples, score_replies(many, half).samples)
    assert (paired.method, paired.n, paired.only_first, paired.only_second) == ("means", 10, 10, 0)
    assert paired.difference == -0.5


def test_comparing_different_problems_is_refused():
    one = suite(size=5)
    samples = score_replies(one, demonstrations(one)).samples
    with pytest.raises(DataError, match="different suites"):
        compare(samples, [replace(sample, key="other") for sample in samples])


RECORDED = ["select", "report", "select", "report", "report", "select", "report", "report"]
