from random import Random

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

import tiny_models
from holdfast.data.encode import Encoded
from holdfast.recipe import Decoding
from holdfast.rollout.generate import generate_from

WORDS = {f"w{n}": n for n in range(tiny_models.VOCABULARY)}
TOKENIZER = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel(WORDS, unk_token="w3")), pad_token="w0", eos_token="w2"
)


@pytest.mark.parametrize("architecture", sorted(tiny_models.CONFIGS))
def test_answers_do_not_depend_on_the_neighbors_in_a_batch(architecture):
    model = tiny_models.build(architecture)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # default weights are so small that all candidates are nearly tied
                parameter.mul_(3)
    stream = Random(0)
    lengths = [stream.randint(2, 12) for _ in range(20)]
    prompts = [Encoded(tuple(stream.randrange(3, 90) for _ in range(length)), length) for length in lengths]

    def texts(batch_size):
        return generate_from(
            model, TOKENIZER, prompts, Decoding(max_new_tokens=6), batch_size=batch_size, compute_dtype=torch.float32
        )

    assert texts(20) == texts(1)
