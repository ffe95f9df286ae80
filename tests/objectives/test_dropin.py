"""The loss function for other trainers gives what TRL's own objectives and our engine give."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from objective_kit import Smoothed, engine_gradients, gradients, largest_difference, ragged, split

import tiny_models
from holdfast.errors import UserError
from holdfast.objectives.base import Objective
from holdfast.objectives.dft import DFT
from holdfast.objectives.dropin import loss_function
from holdfast.objectives.nll import NLL


def outputs(model, batch):
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])


@pytest.mark.parametrize("objective", [NLL(), DFT(), DFT(floor=0.1), Smoothed()], ids=str)
def test_it_equals_the_engine_over_micro_batches(objective):
    model, batch = tiny_models.build("llama"), ragged()
    loss, expected = engine_gradients(model, objective, [batch])
    model.zero_grad()
    tokens = (batch["labels"][:, 1:] != -100).sum()
    f = loss_function(objective)
    parts = [f(outputs(model, part), part["labels"], num_items_in_batch=tokens) for part in split(batch, 2)]
    sum(parts).backward()
    assert sum(parts).item() == pytest.approx(loss, rel=1e-5)
    assert largest_difference(gradients(model), expected) < 1e-5


def test_plain_nll_is_what_transformers_computes():
    model, batch = tiny_models.build("llama"), ragged()
    expected = model(**batch).loss.item()
    assert loss_function(NLL())(outputs(model, batch), batch["labels"]).item() == pytest.approx(expected, rel=1e-6)


def test_evaluation_without_a_count_divides_by_the_labels_at_hand():
    model, batch = tiny_models.build("llama"), ragged()
    tokens = int((batch["labels"][:, 1:] != -100).sum())
    f, out = loss_function(DFT()), outputs(model, batch)
    assert torch.equal(f(out, batch["labels"]), f(out, batch["labels"], num_items_in_batch=tokens))


def test_a_batch_without_labels_to_learn_is_zero_with_a_graph():
    model, batch = tiny_models.build("llama"), ragged()
    loss = loss_function(DFT())(outputs(model, batch), torch.full_like(batch["labels"], -100))
    loss.backward()
    assert loss.item() == 0.0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "objective"), [("nll", NLL()), ("dft", DFT())])
def test_it_equals_trls_own_loss_type(name, objective, tmp_path):
    trl = pytest.importorskip("trl")
    batch = ragged()
    trainers = [
        trl.SFTTrainer(
            tiny_models.build("llama"),
            args=trl.SFTConfig(
                str(tmp_path), loss_type=kind, use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False
            ),
            train_dataset=rows_of(batch),
            processing_class=tokenizer(),
            compute_loss_func=function,
        )
        for kind, function in ((name, None), ("nll", loss_function(objective)))
    ]
    for count in (None, torch.tensor(100)):
        theirs, ours = (t.compute_loss(t.model, dict(batch), num_items_in_batch=count) for t in trainers)
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
        grads = []
        for trainer, loss in zip(trainers, (theirs, ours), strict=True):
            trainer.model.zero_grad()
            loss.backward()
            grads.append(gradients(trainer.model))
        assert largest_difference(grads[1], grads[0]) < 1e-4


def rows_of(batch):
    from datasets import Dataset

    return Dataset.from_list([{"input_ids": row.tolist()} for row in batch["input_ids"]])


def tokenizer():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(96)}
    by_word = Tokenizer(models.WordLevel(words, unk_token="w3"))
    return PreTrainedTokenizerFast(tokenizer_object=by_word, pad_token="w0", eos_token="w2", unk_token="w3")


@dataclass(frozen=True)
class Regularized(Objective):
    def regularizer(self, model):
        return None


@dataclass(frozen=True)
class Clipped(Objective):
    needs = frozenset({"old_logp"})


@pytest.mark.parametrize("objective", [Regularized(), Clipped()], ids=["regularizer", "old_logp"])
def test_what_a_loss_function_cannot_know_is_refused(objective):
    with pytest.raises(UserError, match="only the Engine"):
        loss_function(objective)


def test_gradient_accumulation_in_a_trainer_changes_nothing(tmp_path):
    from transformers import Trainer, TrainingArguments

    batch = ragged()
    rows = [{name: values[row] for name, values in batch.items()} for row in range(8)]

    def trained(size):
        arguments = TrainingArguments(
            str(tmp_path), max_steps=2, per_device_train_batch_size=size, gradient_accumulation_steps=8 // size,
            learning_rate=1e-2, use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no", optim="sgd",
        )  # fmt: skip
        trainer = Trainer(
            tiny_models.build("llama"), arguments, train_dataset=rows, compute_loss_func=loss_function(DFT())
        )
        trainer.train()
        return dict(trainer.model.named_parameters())

    whole, eighths = trained(8), trained(1)
    start = dict(tiny_models.build("llama").named_parameters())
    moved = {name: whole[name].detach() - start[name].detach() for name in start}
    assert largest_difference({n: eighths[n].detach() - start[n].detach() for n in start}, moved) < 1e-3
