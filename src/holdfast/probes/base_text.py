"""How well the model still foretells general text, or what its base would have said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from holdfast.probes.base import Need
from holdfast.probes.checks import check_rows
from holdfast.signals.reading import BASE_TEXT_NLL

if TYPE_CHECKING:
    from holdfast.probes.rows import Rows
    from holdfast.probes.scene import Scene

SEED = 2_000


@dataclass(frozen=True)
class BaseText:
    """Mean NLL of general text in nats a token; how far it has risen since the base is the drift.

    Without a ``path`` the text is the base's own: at step 0 it answers prompts of training, one sample each at
    temperature 1, and these answers are asked about from then on. The mean of their NLL less that at step 0 is then an
    unbiased estimate, from few samples, of KL(base ‖ model) on the base's own answers. With a ``path`` it is that text,
    which is the more general question. Signal: ``{signal: drift, reads: base_text_nll, by: 0.1}``.

    Evidence: a direct measure of forgetting on that text, and no more than that text.

    Cost: one forward pass over the texts; at step 0 also the drawing of the answers.

    Args:
        rows: Texts.
        path: See `holdfast.probes.rows.text_rows`.
        longest: Tokens of a text, or of an answer, at most.
    """

    rows: int = 32
    path: str | None = None
    longest: int = 128

    readings: ClassVar[tuple[str, ...]] = (BASE_TEXT_NLL,)
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __post_init__(self) -> None:
        check_rows(self.rows)
        check_rows(self.longest, least=2, name="longest")

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs of a forward pass, and at step 0 of drawing answers as long as they may be."""
        if self.path is not None or scene.past:
            return scene.pass_flops(self._rows(scene))
        forward, asked = scene.stage.forward, scene.training(self.rows).encoded
        drawn = sum(forward.generation_flops(row.n_prompt, self.longest) for row in asked)
        longest = max(row.n_prompt for row in asked) + self.longest
        return drawn + forward.forward_flops((len(asked), longest), len(asked) * self.longest)

    def measure(self, scene: Scene) -> Mapping[str, float | None]:
        """Return the mean NLL."""
        if self.path is None and not scene.past:
            scene.keep(self._drawn(scene))
        return {BASE_TEXT_NLL: scene.read(self._rows(scene)).nll}

    def _rows(self, scene: Scene) -> Rows:
        from holdfast.data.encode import Encoded
        from holdfast.probes.rows import Rows

        if self.path is not None:
            return scene.texts(self.path, self.rows, longest=self.longest)
        rows: list[Any] = scene.past[0] if scene.past else scene.kept
        return scene.stage.once(
            ("base text", self), lambda: Rows(tuple(Encoded(tuple(ids), n_prompt) for ids, n_prompt in rows))
        )

    def _drawn(self, scene: Scene) -> list[Any]:
        """Return prompt and answer of each row in tokens, with the length of the prompt."""
        from holdfast.recipe import Decoding
        from holdfast.rollout.generate import generate_from

        asked, stage = scene.training(self.rows).encoded, scene.stage
        replies = generate_from(
            scene.model,
            stage.speaker,
            asked,
            Decoding(temperature=1.0, max_new_tokens=self.longest),
            batch_size=stage.recipe.per_device_eval_batch_size,
            compute_dtype=stage.compute_dtype,
            seed=SEED,
            ranks=stage.ranks,
        )
        scene.spend(
            sum(
                stage.forward.generation_flops(row.n_prompt, reply.n_tokens)
                for row, reply in zip(asked, replies, strict=True)
            )
        )
        return [[[*row.prompt_ids, *reply.token_ids], row.n_prompt] for row, reply in zip(asked, replies, strict=True)]
