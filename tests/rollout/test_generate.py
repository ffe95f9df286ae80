import random
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import transformers as hf

from holdfast.data.encode import Encoded, prompt_ids
from holdfast.environments.base import Episode, Revision
from holdfast.errors import DataError
from holdfast.models import word_tokenizer
from holdfast.models.compute import recompute_activations
from holdfast.recipe import Decoding
from holdfast.records import Message, Outcome, Problem, Verdict
from holdfast.rollout.episodes import answer
from holdfast.rollout.generate import generate, positions
from holdfast.rollout.sampling import InverseCDF, streams

TOKENIZER = word_tokenizer.build(["one two three four five six seven eight nine ten"], numbers=10)
GREEDY = Decoding(max_new_tokens=24)
HOT = Decoding(max_new_tokens=24, temperature=1.0, top_p=0.9)


def tiny(*, positions: int = 256, dtype: torch.dtype = torch.float32, ends: float = 0.1, kind: str = "llama"):
    """A random model whose logits spread widely, and which ends an answer about every tenth token."""
    if kind == "gpt2":
        config = hf.GPT2Config(vocab_size=len(TOKENIZER), n_embd=32, n_layer=2, n_head=4, n_positions=positions)
    else:
        config = hf.LlamaConfig(
            vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=positions, initializer_range=0.5,
        )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            # The end token's row is a mixture of the others', so that it wins now and then.
            head = model.get_output_embeddings().weight
            head[TOKENIZER.eos_token_id] = head[5:].mean(0) + ends * 20 * head.std() * torch.randn(head.shape[1])
    return model.to(dtype)


MODEL = tiny()
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def talks(count: int, *, longest: int = 12) -> list[tuple[Message, ...]]:
    stream = random.Random(3)
    return [
        (Message(role="user", content=" ".join(stream.choices(WORDS, k=stream.randint(1, longest)))),)
        for _ in range(count)
    ]


def texts(conversations, decoding=GREEDY, *, model=MODEL, batch_size=8, seed=0, dtype=torch.float32):
    return generate(model, TOKENIZER, conversations, decoding, batch_size=batch_size, compute_dtype=dtype, seed=seed)


def flat(model, prompt: list[int], cap: int) -> list[int]:
    """Greedy decoding in five lines: no cache, no padding, no batch."""
    ids = list(prompt)
    while len(ids) < len(prompt) + cap:
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == TOKENIZER.eos_token_id:
            break
    return ids[len(prompt) :]


def test_the_answers_are_those_of_a_plain_greedy_loop():
    asked = talks(12)
    for reply, prompt in zip(texts(asked), prompt_ids(TOKENIZER, asked), strict=True):
        said = flat(MODEL, prompt, 24)
        assert (reply.n_tokens, reply.finished) == (len(said), said[-1] == TOKENIZER.eos_token_id)
        assert reply.text == TOKENIZER.decode(said, skip_special_tokens=True)


@pytest.mark.parametrize("decoding", [GREEDY, HOT], ids=["greedy", "sampled"])
def test_answers_depend_on_neither_batch_size_nor_order_in_float32(decoding):
    asked = talks(60)
    one = texts(asked, decoding, batch_size=1)
    assert 10 < sum(reply.finished for reply in one) < 60, "the test needs both kinds of answers"
    assert len({reply.text for reply in one}) > 20
    for size in (3, 60):
        assert texts(asked, decoding, batch_size=size) == one
    places = list(range(60))
    random.Random(0).shuffle(places)
    shuffled = texts([asked[place] for place in places], decoding)
    assert shuffled == [one[place] for place in places]


def test_flips_with_the_batch_size_in_bfloat16_are_counted(capsys):
    model, asked = tiny(dtype=torch.bfloat16), talks(60)
    one = texts(asked, model=model, batch_size=1, dtype=torch.bfloat16)
    many = texts(asked, model=model, batch_size=30, dtype=torch.bfloat16)
    flips = sum(a.text != b.text for a, b in zip(one, many, strict=True))
    with capsys.disabled():
        print(f"\nbfloat16, batch size 1 against 30: {flips} of {len(asked)} greedy answers differ")
    assert flips < len(asked)


def test_a_checkpoints_own_generation_settings_do_not_leak():
    model = tiny()
    model.generation_config = hf.GenerationConfig(
        do_sample=True, temperature=0.6, top_k=2, repetition_penalty=3.0, min_new_tokens=20, max_new_tokens=2,
        no_repeat_ngram_size=1, eos_token_id=7,
    )  # fmt: skip
    before = model.generation_config
    asked = talks(12)
    assert texts(asked, model=model) == texts(asked)
    assert model.generation_config is before


def test_modes_global_random_state_and_the_tokenizer_are_left_as_they_were():
    model = tiny()
    model.train()
    model.model.layers[0].eval()
    torch_state, python_state, side = torch.get_rng_state(), random.getstate(), TOKENIZER.padding_side
    texts(talks(4), HOT, model=model)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    assert TOKENIZER.padding_side == side
    assert model.training
    assert not model.model.layers[0].training
    assert model.model.layers[1].training


def test_answers_under_checkpointed_activations_are_cached_and_the_switches_stay():
    """A model in the midst of training that saves memory: what is off for training is neither needed nor changed."""
    model, asked = tiny(), talks(6)
    recompute_activations(model)
    model.train()
    model.config.use_cache = False
    lengths: list[int] = []
    handle = model.model.layers[0].mlp.register_forward_pre_hook(lambda _m, args: lengths.append(args[0].shape[1]))
    with handle:
        assert texts(asked, model=model) == texts(asked)
    assert lengths.count(1) > len(lengths) / 2, "with a cache each further token is computed alone"
    assert model.training
    assert model.config.use_cache is False
    assert [vars(layer)["gradient_checkpointing"] for layer in model.model.layers] == [True, True]


def test_modes_are_restored_after_an_error():
    model = tiny()
    model.train()
    model.model.layers[0].self_attn.q_proj = None
    with pytest.raises(TypeError):
        texts(talks(1), model=model)
    assert model.training


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_an_answer_ends_at_the_models_last_position_whoever_its_neighbors_are(kind):
    model = tiny(positions=32, kind=kind)
    asked = talks(24)
    assert positions(model) == 32
    one = texts(asked, model=model, batch_size=1)
    for reply, prompt in zip(one, prompt_ids(TOKENIZER, asked), strict=True):
        assert len(prompt) + reply.n_tokens <= 32
        assert reply.finished or reply.n_tokens == min(24, 32 - len(prompt))
    assert texts(asked, model=model, batch_size=24) == one


def test_a_prompt_without_room_for_an_answer_is_refused():
    with pytest.raises(DataError, match="conversation 1 has 22 tokens, and the model 22 positions"):
        texts([talks(1)[0], (Message(role="user", content=" ".join(WORDS * 2)),)], model=tiny(positions=22))


def test_progress_ends_at_all_answers():
    heard: list[tuple[int, int]] = []
    generate(
        MODEL, TOKENIZER, talks(20), GREEDY, batch_size=8, compute_dtype=torch.float32,
        progress=lambda done, total: heard.append((done, total)),
    )  # fmt: skip
    assert heard[-1] == (20, 20)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


def test_no_conversations_give_no_answers():
    assert texts([]) == []


def test_repeated_prompts_get_samples_of_their_own_and_the_seed_matters():
    same = talks(1) * 6
    first = [reply.text for reply in texts(same, HOT)]
    assert len(set(first)) > 1
    assert first == [reply.text for reply in texts(same, HOT)]
    assert first != [reply.text for reply in texts(same, HOT, seed=1)]


def test_sampling_draws_tokens_with_the_models_probabilities():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    drawn = Counter[int]()
    rows = streams([Encoded((1,), 1)] * 4000, seed=0)
    scores = InverseCDF(rows, temperature=2.0, top_p=1.0)(torch.zeros(4000, 1), logits.expand(4000, 4))
    drawn.update(scores.argmax(-1).tolist())
    for token, probability in enumerate((logits / 2).softmax(-1).tolist()):
        assert abs(drawn[token] / 4000 - probability) < 4 * (probability * (1 - probability) / 4000) ** 0.5


def test_the_nucleus_holds_the_fewest_tokens_with_the_mass():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    for top_p, tokens in ((0.5, {0}), (0.79, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3})):
        rows = streams([Encoded((1,), 1)] * 1000, seed=0)
        scores = InverseCDF(rows, temperature=1.0, top_p=top_p)(torch.zeros(1000, 1), logits.expand(1000, 4))
        assert set(scores.argmax(-1).tolist()) == tokens


def test_a_cold_sample_is_the_greedy_answer():
    asked = talks(10)
    assert texts(asked, Decoding(max_new_tokens=24, temperature=1e-4)) == texts(asked)


@dataclass(frozen=True)
class Patience:
    """Correct from attempt ``good`` on: an attempt is known by the number of verdicts in the talk."""

    name: ClassVar[str] = "patience"
    multi_step: ClassVar[bool] = False
    rules: tuple[str, ...] = ("any",)
    word: str = "e"

    def sample(self, rule, split, index, *, seed):
        return Problem(self.name, rule, split, index, seed, key=str(index))

    def prompt(self, problem):
        return (Message(role="user", content=WORDS[problem.index % 10]),)

    def steps(self, problem):
        return (problem,)

    def begin(self, problem, *, attempts=1):
        return Revision.start(self, problem, attempts=attempts)

    def demonstrate(self, problem):
        return self.word

    def verify(self, problem, reply):
        right = self.word in reply
        return Verdict(Outcome.CORRECT if right else Outcome.WRONG, float(right), "x", "two three")


def episodes(attempts: int, *, count: int = 10) -> list[Episode]:
    environment = Patience()
    return [
        Revision.start(environment, environment.sample("any", "test", n, seed=0), attempts=attempts)
        for n in range(count)
    ]


def test_episodes_played_together_are_episodes_played_alone():
    def play(some):
        return answer(MODEL, TOKENIZER, some, GREEDY, batch_size=4, compute_dtype=torch.float32)

    together = play(episodes(3))
    alone = [play([episode])[0] for episode in episodes(3)]
    assert together == alone
    rounds = [len(answered.replies) for answered in together]
    assert len(set(rounds)) > 1, "the test needs episodes of different length"
    for answered in together:
        assert answered.episode.done
        assert len(answered.replies) == len(answered.episode.verdicts)


def test_each_reply_is_generated_from_the_conversation_so_far():
    (answered,) = answer(MODEL, TOKENIZER, episodes(2, count=1), GREEDY, batch_size=1, compute_dtype=torch.float32)
    said = [reply.text for reply in answered.replies]
    talk = [Message(role="user", content="one")]
    for text in said:
        assert texts([talk])[0].text == text
        talk += [Message(role="assistant", content=text), Message(role="user", content="two three")]


def test_an_episode_that_outgrows_the_model_stays_unsolved():
    model = tiny(positions=24)
    played = answer(model, TOKENIZER, episodes(5), GREEDY, batch_size=10, compute_dtype=torch.float32)
    early = [answered for answered in played if not answered.episode.done]
    assert early, "the test needs an episode without room"
    assert all(answered.episode.solved_at is None and answered.replies for answered in early)
