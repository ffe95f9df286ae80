"""vLLM as the answerer: in this process, on this model's device, with the weights that the model has at each call.

vLLM keeps a copy of the model of its own. It is made once, from the model's folder without reading its weights, and is
given the current weights before an answer if they may have changed: under the names of the files, adapters merged.
After each handover both read one prompt, and an answer is refused where their log-probabilities are apart.
Prompts and replies are tokens, so that rendering, endings and texts are ours.

Where it differs from Transformers: each row draws from vLLM's generator, seeded by the row's own stream
(`holdfast.rollout.sampling.streams`), so answers do not depend on order or neighbors but by rounding, and are other
ones than Transformers' at the same seed. Rounding differs too: greedy answers are equal where no two candidates are
close. ``batch_size`` is not read, since vLLM fills its batches itself, and ``progress`` hears of the end alone.

What it leaves in the process: environment variables (logs of errors only, no usage statistics, one process), an
initialized process group of one, and the memory of its copy and of its key-value cache until `Vllm.close`. The global
random state and torch's threads are as before.
"""

from __future__ import annotations

import gc
import os
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers.core_model_loading import revert_weight_conversion

from holdfast.data.encode import Encoded, stop_ids
from holdfast.errors import UserError
from holdfast.models import rng
from holdfast.models.adapters import merged
from holdfast.models.compute import compute
from holdfast.models.modes import evaluating
from holdfast.models.ranks import ALONE, Ranks
from holdfast.recipe import Decoding
from holdfast.rollout import vllm_extra
from holdfast.rollout.answerer import Answerer
from holdfast.rollout.generate import Progress, Reply, positions, room, spoken
from holdfast.rollout.sampling import streams

SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # weights are handed over as they are, without copies or pickles
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # threads are the training's, too
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
CPU_CACHE = 2**30
"""Bytes of the key-value cache on a CPU, where a share of the memory would be taken at once."""
PROVED = 256
"""Tokens of a prompt on which vLLM is held against the model after each handover."""
APART = 0.25
"""Bound of the mean distance of their log-probabilities: bfloat16 rounds by hundredths, a wrong weight by more."""
FAULTS = (ImportError, OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, AssertionError)
"""What vLLM raises where it cannot be loaded, does not know a model, or lacks memory."""


class Vllm(Answerer):
    """Answers with vLLM; see the module. One a process at a time.

    Args:
        folder: Of the model: its configuration is read, not its weights.
        dtype: In which it computes; every call must say the same.
        device_type: ``cuda`` or ``cpu``, where the model is.
        gpu_memory_utilization: Share of the GPU's memory for copy, cache and work space.

    Raises:
        UserError: vLLM is missing, or cannot serve this model here; it says why in vLLM's words.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device_type: str, gpu_memory_utilization: float) -> None:
        needed = vllm_extra.missing()
        if needed is not None:
            raise UserError(f"generate_with: vllm {needed}")
        self.dtype = dtype
        self._given: list[tuple[weakref.ref[Tensor], int]] = []
        self._stale = True
        self._on_cpu = on_cpu = device_type == "cpu"
        try:
            with _contained():
                import vllm

                self._sampling = vllm.SamplingParams
                self._llm = vllm.LLM(
                    model=str(folder),
                    dtype=str(dtype).removeprefix("torch."),
                    load_format="dummy",
                    skip_tokenizer_init=True,
                    generation_config="vllm",  # the checkpoint's own settings are not used
                    max_model_len=-1,  # the model's, or as many as the cache holds
                    gpu_memory_utilization=gpu_memory_utilization,
                    kv_cache_memory_bytes=CPU_CACHE if on_cpu else None,
                    enforce_eager=on_cpu,
                    # A head that shares the embedding's weight is packed apart from it, and stays as it was.
                    hf_overrides={"tie_word_embeddings": False} if on_cpu else None,
                    # A prompt cut in two draws a number too many, which vLLM takes back on a GPU and cannot on a CPU.
                    enable_chunked_prefill=not on_cpu,
                    disable_log_stats=True,
                    seed=0,
                )
        except FAULTS as fault:
            raise UserError(
                f"generate_with: vllm cannot serve {folder}: {_first_line(fault)}. "
                "Lower vllm_gpu_memory_utilization if memory is short, or write generate_with: transformers"
            ) from fault
        # Versions of tensors do not tell: fused optimizers write without counting.
        self._hook = register_optimizer_step_post_hook(lambda *_: self._doubt())

    @property
    def name(self) -> str:
        """With the version of vLLM."""
        return f"vllm {vllm_extra.version()}"

    @property
    def longest(self) -> int:
        """Most tokens of prompt and answer together that the cache holds."""
        return int(self._llm.llm_engine.model_config.max_model_len)

    def replies(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Sequence[Encoded],
        decoding: Decoding,
        *,
        batch_size: int,  # noqa: ARG002  (vLLM fills its batches itself)
        compute_dtype: torch.dtype,
        seed: int = 0,
        progress: Progress | None = None,
        ranks: Ranks = ALONE,
    ) -> list[Reply]:
        """See `Answerer.replies`.

        Raises:
            UserError: a prompt with its answer is longer than the cache holds, or the weights did not arrive whole.
        """
        assert compute_dtype == self.dtype, f"built for {self.dtype}, asked for {compute_dtype}"
        assert ranks.count == 1, "refused before"
        assert not any(prompt.pictures for prompt in prompts), "refused before"
        if not prompts:
            return []
        limit, stops = positions(model), stop_ids(tokenizer)
        rooms = [room(n, prompt.n_prompt, decoding.max_new_tokens, limit) for n, prompt in enumerate(prompts)]
        self._refuse_long(max(prompt.n_prompt + room for prompt, room in zip(prompts, rooms, strict=True)))
        settings = [
            self._sampling(
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                max_tokens=room,
                seed=stream.getrandbits(63) if decoding.temperature > 0 else None,
                stop_token_ids=list(stops),
                ignore_eos=True,  # ends are those of `stop_ids` alone
                detokenize=False,
            )
            for room, stream in zip(rooms, streams(prompts, seed=seed), strict=True)
        ]
        with _contained():
            if self._give(model):
                self._prove(model, max((prompt.prompt_ids for prompt in prompts), key=len)[:PROVED])
            asked = [{"prompt_token_ids": list(prompt.prompt_ids)} for prompt in prompts]
            found = self._llm.generate(asked, settings, use_tqdm=False)
        said = [tuple(map(int, one.outputs[0].token_ids)) for one in found]
        if progress is not None:
            progress(len(prompts), len(prompts))
        return [
            Reply(text, len(ids), ids[-1] in stops, ids)
            for text, ids in zip(spoken(tokenizer, said), said, strict=True)
        ]

    def close(self) -> None:
        """Give back all memory. Nothing can be asked afterwards."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._hook.remove()
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        with _contained():
            cleanup_dist_env_and_memory()
        gc.collect()

    def _doubt(self) -> None:
        self._stale = True

    def _give(self, model: Any) -> bool:
        """Hand over the weights, unless they are those that were handed over last; return whether they were."""
        every = list(model.parameters())
        same = len(every) == len(self._given) and all(
            weight._version == version and given() is weight
            for weight, (given, version) in zip(every, self._given, strict=True)
        )
        if same and not self._stale:
            return False
        with merged(model, lambda _, weight: torch.promote_types(weight.dtype, torch.float32)), torch.no_grad():
            tensors = _in_files(model, tied_twice=self._on_cpu)
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(tensors.items())})
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM kept keys and values of older weights")
        self._given, self._stale = [(weakref.ref(weight), weight._version) for weight in every], False
        return True

    def _prove(self, model: Any, tokens: Sequence[int]) -> None:
        """Raise if vLLM expects something else of ``tokens`` than the model: some weight did not arrive."""
        if len(tokens) < 2:
            return
        read = self._sampling(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        (found,) = self._llm.generate([{"prompt_token_ids": list(tokens)}], [read], use_tqdm=False)
        theirs = [of[token].logprob for of, token in zip(found.prompt_logprobs[1:], tokens[1:], strict=True)]
        ids_1T = torch.tensor([tokens], device=next(model.parameters()).device)
        with evaluating(model), torch.no_grad(), compute(model, self.dtype):
            logp_TV = model(input_ids=ids_1T).logits[0, :-1].float().log_softmax(-1)
        ours_T = logp_TV.gather(-1, ids_1T[0, 1:, None])[:, 0].cpu()
        apart = float((ours_T - torch.tensor(theirs)).abs().mean())
        if not apart < APART:
            self._stale = True
            raise UserError(
                f"generate_with: vllm computes something else than {type(model).__name__} does: log-probabilities of "
                f"{len(theirs)} tokens are {apart:.2f} apart in the mean (bound: {APART}), so that its weights did not "
                "arrive whole. Write generate_with: transformers"
            )

    def _refuse_long(self, tokens: int) -> None:
        if tokens > self.longest:
            raise UserError(
                f"generate_with: vllm has room for {self.longest} tokens a row, and {tokens} are asked (prompt and "
                "max_new_tokens); raise vllm_gpu_memory_utilization, or write generate_with: transformers"
            )


def _in_files(model: Any, *, tied_twice: bool) -> dict[str, Tensor]:
    """Return a plain model's weights and buffers under the names and in the form of its files."""
    aliases = set(dict(model.named_parameters(remove_duplicate=False))) - set(dict(model.named_parameters()))
    left = set() if tied_twice else aliases
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items() if name not in left}
    found: dict[str, Tensor] = revert_weight_conversion(model, tensors)
    return found


@contextmanager
def _contained() -> Iterator[None]:
    """Keep from training what vLLM does to its process: seeds, threads, warnings."""
    os.environ.update(SETTINGS)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    set_threads, threads = torch.set_num_threads, torch.get_num_threads()
    try:
        with rng.preserved(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads = set_threads
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _first_line(fault: BaseException) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return f"{type(fault).__name__}: {' '.join(lines[:2])[:300]}"
