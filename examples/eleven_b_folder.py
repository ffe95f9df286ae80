"""A folder from which the study of an 11-billion-parameter model can be planned without its weights or a network.

    python examples/eleven_b_folder.py runs/eleven-b
    holdfast plan studies/sft_without_overfitting/figure1.yaml --model_name_or_path runs/eleven-b ...

It holds the configuration of Llama 3.2 11B Vision, which is Transformers' default for Mllama (40 blocks of 4,096 units,
eight of which only attend to images), and a tokenizer whose words are those of the two tasks. A word, a number or a
sign is one token in it, as nearly always in Llama's own; the real folder gives the real lengths (docs/eleven-b.md).
"""

import sys
from itertools import chain
from pathlib import Path

import transformers

from holdfast.environments.general_points.vocabulary import vocabulary_texts as of_points
from holdfast.environments.navigation.vocabulary import vocabulary_texts as of_navigation
from holdfast.models.word_tokenizer import build

folder = Path(sys.argv[1])
config = transformers.MllamaConfig(architectures=["MllamaForConditionalGeneration"], dtype="bfloat16")
config.save_pretrained(folder)
build(chain(of_points(), of_navigation()), positions=8192).save_pretrained(folder)
print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
