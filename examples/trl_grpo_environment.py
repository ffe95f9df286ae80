"""An environment of holdfast in TRL's GRPO: the model answers through a tool, hears the verdict, and may try again.

The model here is tiny and random, so that this runs offline on one core in seconds; put your own in its place (its chat
template must know tools, as Qwen's does):  python examples/trl_grpo_environment.py
"""

import tokenizers
import transformers
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_chat_template

from holdfast.environments.general_points import GeneralPoints
from holdfast.interop import environment_factory, episode_reward, episodes

# --- a model that knows bytes and nothing else
words = tokenizers.pre_tokenizers.ByteLevel.alphabet()
book = tokenizers.Tokenizer(tokenizers.models.BPE({word: place for place, word in enumerate(sorted(words))}, []))
book.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
book.decoder = tokenizers.decoders.ByteLevel()
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=book, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=qwen3_chat_template
)
tokenizer.add_tokens(["<|im_start|>", "<tool_call>", "</tool_call>"], special_tokens=False)
shape = transformers.Qwen3Config(
    vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8, max_position_embeddings=4096, eos_token_id=tokenizer.eos_token_id,
    pad_token_id=tokenizer.pad_token_id,
)  # fmt: skip
transformers.set_seed(0)
model = transformers.Qwen3ForCausalLM(shape)

# --- the environment, three attempts a hand; its rows name the problems
world = GeneralPoints(prompt_style="terse", answer_format="values_formula")
config = GRPOConfig(
    "runs/grpo", max_steps=2, per_device_train_batch_size=4, num_generations=4, max_completion_length=16,
    learning_rate=1e-4, use_cpu=True, bf16=False, logging_steps=1, save_strategy="no", report_to="none",
)  # fmt: skip
playing = GRPOTrainer(
    model, reward_funcs=episode_reward, args=config, processing_class=tokenizer,
    train_dataset=Dataset.from_list(episodes(world, "faces_as_10", size=8)),
    environment_factory=environment_factory(world, attempts=3),
)  # fmt: skip

if __name__ == "__main__":
    playing.train()
    print(*({"reward": line["reward"]} for line in playing.state.log_history if "reward" in line), sep="\n")
