"""How a problem of a file is put to the model: the wordings that mathematics suites are published with.

A style is a text with ``{problem}`` in it. Some are whole prompts, which no chat template touches, because what was
evaluated is that very text; `BOXED` is the content of a user message in the model's own template.

What is known of the three styles of Wu et al. 2025 (*Dynamic fine-tuning*), as of 2026-11:

- ``qwen-boxed`` and ``deepseek-math`` are, character for character, the templates of the Qwen2.5-Math harness as its
  public copies hold them (excerpts of ten and of eight agree; the authors' own copy could not be read). With a Qwen
  tokenizer the first is also what its chat template makes of a system and a user message.
- ``llama-base-boxed`` is a name in the authors' scripts; **its text could not be found**. The wording here is ours: a
  number obtained with it is not comparable digit by digit with their Llama rows. Whoever has the text writes it in the
  recipe instead of a name.

The harness ends an answer at ``<|im_end|>``, ``<|endoftext|>`` or ``</s>``; here it ends at the tokenizer's end token
and at the end of turn of its chat template (`holdfast.data.encode.stop_ids`), the same for Qwen's tokenizers.
"""

from __future__ import annotations

from holdfast.errors import UnknownName
from holdfast.records import RAW, Message

HOLE = "{problem}"
BOXED = "boxed"

STYLES = {
    BOXED: "{problem}\n\nReason step by step, then give the final answer in \\boxed{}.",
    "qwen-boxed": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n{problem}\nPlease reason step by step, and put your final answer within \\boxed{}."
        "<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama-base-boxed": (
        "Question: {problem}\nAnswer the question step by step and end with the final answer in \\boxed{}.\nAnswer:"
    ),
    "deepseek-math": (
        "User: {problem}\nPlease reason step by step, and put your final answer within \\boxed{}.\n\nAssistant:"
    ),
}


def find_style(name: str) -> str:
    """Return the text of a style; a name that holds ``{problem}`` is such a text itself.

    Raises:
        UnknownName: there is no style of this name.

    Example:
        >>> find_style("Q: {problem} A:")
        'Q: {problem} A:'
    """
    if HOLE in name:
        return name
    if name not in STYLES:
        raise UnknownName("prompt style", name, STYLES)
    return STYLES[name]


def is_whole(name: str) -> bool:
    """Whether a style is the whole prompt as text: then nothing can follow it, neither template nor second attempt."""
    return name != BOXED


def styled(problem: str, name: str) -> tuple[Message, ...]:
    """Return the messages that ask a problem in a style.

    Raises:
        UnknownName: there is no style of this name.

    Example:
        >>> styled("2 + 2?", "deepseek-math")[0]["content"][:14]
        'User: 2 + 2?\\nP'
    """
    text = find_style(name).replace(HOLE, problem)
    return (Message(role=RAW if is_whole(name) else "user", content=text),)
