"""Problems of several steps: whole episodes, and each step alone by teacher forcing."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch
import transformers as hf

from holdfast.data.encode import encode
from holdfast.data.sources import EnvironmentRows
from holdfast.errors import DataError
from holdfast.evaluate.evaluate import evaluate, score_replies
from holdfast.evaluate.samples import compare
from holdfast.evaluate.suite import Suite
from holdfast.models import word_tokenizer
from holdfast.recipe import Decoding
from holdfast.records import Example, Message, Outcome, Problem, Verdict

TOKENIZER = word_tokenizer.build(["count right wrong"], numbers=60)


@dataclass(frozen=True)
class Climb:
    """The episode of `Counting`: it goes on after a wrong answer."""

    environment: "Counting"
    problem: Problem
    verdicts: tuple[Verdict, ...] = ()
    counts: dict = field(default_factory=dict)

    @property
    def _steps(self):
        return self.environment.steps(self.problem)

    @property
    def messages(self):
        return self.environment.prompt(self._steps[len(self.verdicts)])

    @property
    def done(self):
        return len(self.verdicts) == len(self._steps)

    @property
    def solved_at(self):
        return 1 if self.done and all(v.outcome is Outcome.CORRECT for v in self.verdicts) else None

    def step(self, reply):
        verdicts = (*self.verdicts, self.environment.verify(self._steps[len(self.verdicts)], reply))
        hits = sum(v.outcome is Outcome.CORRECT for v in verdicts)
        return replace(self, verdicts=verdicts, counts={"per_step": (hits, len(verdicts))})


@dataclass(frozen=True)
class Counting:
    """Problem n asks for n + 1, n + 2, … in two to four steps."""

    name: ClassVar[str] = "counting"
    multi_step: ClassVar[bool] = True
    rules: tuple[str, ...] = ("up",)

    def sample(self, rule, split, index, *, seed):
        return Problem(
            self.name, rule, split, index, seed, key=str(index), facts={"at": index, "length": 2 + index % 3}
        )

    def steps(self, problem):
        at = problem.facts["at"]
        return tuple(replace(problem, facts={"at": at + k}) for k in range(problem.facts["length"]))

    def prompt(self, problem):
        return (Message(role="user", content=f"count {problem.facts['at']}"),)

    def demonstrate(self, problem):
        return str(problem.facts["at"] + 1)

    def verify(self, problem, reply):
        right = reply.strip() == self.demonstrate(problem)
        return Verdict(Outcome.CORRECT if right else Outcome.WRONG, float(right), "right" if right else "wrong", "no")

    def begin(self, problem, *, attempts=1):
        return Climb(self, problem)


def suite(*, size=6, forced=False) -> Suite:
    decoding = Decoding(max_new_tokens=4, teacher_forced=forced)
    return Suite("toy", "id", Counting(), "up", size, size, "test", 7, 1, decoding, False)


def tiny_model():
    torch.manual_seed(0)
    config = hf.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=len(TOKENIZER), max_position_embeddings=64, attn_implementation="eager",
    )  # fmt: skip
    return hf.LlamaForCausalLM(config).float().eval()


def test_rows_of_a_data_set_are_the_steps_of_its_problems_one_after_another():
    rows = EnvironmentRows(Counting(), rule="up", split="train", seed=0, size=4, tokenizer=TOKENIZER)
    assert list(rows.starts) == [0, 2, 5, 9]
    assert len(rows) == 11
    assert [rows.example(row).completion for row in range(5, 9)] == ["3", "4", "5", "6"]


def test_an_episode_counts_pooled_over_steps_and_succeeds_only_if_every_step_was_right():
    asked = suite(size=3)
    replies = [["1", "2"], ["2", "x", "4"], ["3", "4", "5", "6"]]
    result = score_replies(asked, replies)
    assert [sample.outcome is Outcome.CORRECT for sample in result.samples] == [True, False, True]
    assert result.samples[1].code == "wrong"
    per_step = result.estimates["eval_toy_per_step"]
    assert (per_step.value, per_step.n) == (pytest.approx(8 / 9), 9)
    assert result.estimates["eval_toy_success"].value == pytest.approx(2 / 3)


def test_a_teacher_forced_suite_asks_every_step_alone_and_hears_the_argmax_after_the_given_tokens():
    asked, model = suite(forced=True), tiny_model()
    result = evaluate(model, TOKENIZER, asked, batch_size=4, compute_dtype=torch.float32)
    assert [(s.index, s.step) for s in result.samples] == [(n, k) for n in range(6) for k in range(2 + n % 3)]
    for sample, (_, step) in zip(result.samples, asked.steps(), strict=True):
        environment = asked.environment
        row = encode(Example(environment.prompt(step), environment.demonstrate(step), ""), TOKENIZER)
        logits_TV = model(torch.tensor([row.input_ids])).logits[0]
        said = logits_TV[row.n_prompt - 1 : -1].argmax(-1).tolist()
        stop = said.index(TOKENIZER.eos_token_id) if TOKENIZER.eos_token_id in said else len(said)
        assert sample.replies == (TOKENIZER.decode(said[:stop], skip_special_tokens=True),)
    assert result.estimates["eval_toy_success"].n == 18


def test_steps_of_two_evaluations_are_paired_one_by_one():
    asked = suite(forced=True)
    result = evaluate(tiny_model(), TOKENIZER, asked, batch_size=4, compute_dtype=torch.float32)
    better = [replace(sample, outcome=Outcome.CORRECT) for sample in result.samples]
    assert compare(result.samples, better).n == 18


def test_replies_cannot_be_handed_to_a_teacher_forced_suite():
    with pytest.raises(DataError, match="teacher-forced"):
        score_replies(suite(forced=True), [["1"]] * 6)
