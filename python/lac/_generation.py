"""Texts that a model has written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ._errors import tell

if TYPE_CHECKING:
    from . import _lac
    from ._prompts import Ids


class PhasePair(NamedTuple):
    """A number of the prompt's tokens and one of the response's; None where nothing was measured."""

    prompt: float | None
    response: float | None


@dataclass(frozen=True)
class Generation:
    """A text that a model has written.

    The numbers are those of all texts that were written side by side, where `batch_size` is above 1.
    """

    #: The new text, without special tokens; None where the model has no tokenizer.
    text: str | None
    #: The new tokens; a token that ended the text is the last.
    ids: Ids = field(repr=False)
    #: The tokens of the prompt.
    prompt_ids: Ids = field(repr=False)
    #: What ended the text: `stop_token`, `stop_string`, `max_new_tokens` or `context_full`.
    stop_reason: str
    #: The policy's name.
    policy: str
    #: Share of layers that were active; None where nothing was gated.
    active: PhasePair
    #: Number of layers that were run for a pass.
    executed: PhasePair
    #: Time of the pass over the prompt.
    prefill_seconds: float
    #: Time of all later passes.
    decode_seconds: float
    #: Number of later passes.
    decode_passes: int

    @property
    def tokens_per_second(self) -> float | None:
        """Passes over new tokens in a second; None where there was none."""
        return self.decode_passes / self.decode_seconds if self.decode_passes else None

    def __str__(self) -> str:
        return self.text or ""


def generation(row: dict[str, Any], prompt_ids: Ids, policy: str) -> Generation:
    """Makes a text of what the compiled half says of it."""
    return Generation(
        text=row["text"],
        ids=row["ids"],
        prompt_ids=prompt_ids,
        stop_reason=row["stop_reason"],
        policy=policy,
        active=PhasePair(*row["active"]),
        executed=PhasePair(*row["executed"]),
        prefill_seconds=row["prefill_seconds"],
        decode_seconds=row["decode_seconds"],
        decode_passes=row["decode_passes"],
    )


class TextStream:
    """The pieces of a text while it is written: iterate over it.

    The model computes on a thread of its own, at most a piece ahead of the reader. To stop reading, and to forget the
    stream, ends the text; so does `close`.
    """

    def __init__(self, stream: _lac.TextStream, prompt_ids: Ids, policy: str):
        self._stream = stream
        self._prompt_ids = prompt_ids
        self._policy = policy
        tell(stream.notices, stacklevel=4)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._stream)

    @property
    def result(self) -> Generation | None:
        """The whole text once its end was read; None before, and where it was closed."""
        row = self._stream.result
        return None if row is None else generation(row, self._prompt_ids, self._policy)

    def close(self) -> None:
        """Ends the text here."""
        self._stream.close()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "at its end" if self._stream.result is not None else "under way"
        return f"<lac.TextStream under {self._policy}, {state}>"
