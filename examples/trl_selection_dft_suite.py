"""Your own TRL script, with three pieces of holdfast: what learns, the objective, and suites asked while training.

Runs offline on two cores in under a minute:  python examples/trl_selection_dft_suite.py
"""

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from holdfast.environments.general_points import GeneralPoints
from holdfast.interop import SuiteCallback, demonstrations, select, suite
from holdfast.models.load import load
from holdfast.objectives.dft import DFT
from holdfast.objectives.dropin import loss_function

base = load("pocket", dtype="float32", attn_implementation="eager")
world = GeneralPoints(prompt_style="terse", answer_format="values_formula")
rows = Dataset.from_list(demonstrations(world, "faces_as_10", size=512))
asked = [suite(name, world, rule, size=40) for name, rule in zip(("id", "ood"), world.rules, strict=True)]

select(base.model, "attention")
scores = SuiteCallback(asked, every=10)
config = SFTConfig(
    "runs/trl", max_steps=20, per_device_train_batch_size=32, learning_rate=1e-3, loss_type="nll",
    use_cpu=True, bf16=False, save_strategy="no",
)  # fmt: skip
trainer = SFTTrainer(
    base.model, config, train_dataset=rows, processing_class=base.tokenizer, callbacks=[scores],
    compute_loss_func=loss_function(DFT(floor=0.1)),
)  # fmt: skip
trainer.train()
print(*(line for line in trainer.state.log_history if "eval_ood_success" in line), sep="\n")
