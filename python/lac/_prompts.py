"""Prompts in every form that they come in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from ._errors import LacError

if TYPE_CHECKING:
    from . import _lac

Ids = npt.NDArray[np.uint32]

#: A conversation: a list of messages, or a mapping with `messages` and whatever else the template reads.
Messages = Union[Sequence[Mapping[str, Any]], Mapping[str, Any]]

#: A text, a conversation, or token ids.
Prompt = Union[str, Messages, Sequence[int], "npt.NDArray[Any]"]

#: One prompt, or several.
Prompts = Union[Prompt, Sequence[Prompt]]


def is_many(prompts: Prompts) -> bool:
    """Whether these are several prompts: a list of texts, of conversations, or of lists of ids."""
    if isinstance(prompts, (str, bytes, Mapping)):
        return False
    if isinstance(prompts, np.ndarray):
        return prompts.ndim > 1
    if not isinstance(prompts, Sequence):
        raise TypeError(f"a prompt is {type(prompts).__name__}, expected a text, a list of messages, or token ids")
    first = prompts[0] if len(prompts) else None
    # A list of messages is a prompt, and so is a list of ids.
    return isinstance(first, (str, bytes, np.ndarray)) or (
        isinstance(first, Sequence) and not isinstance(first, (str, bytes))
    )


def token_ids(ids: Any, what: str = "token ids") -> Ids:
    """Returns token ids as an array."""
    array = np.asarray(ids)
    if array.ndim != 1:
        raise LacError(f"{what} have the shape {list(array.shape)}, expected a list of numbers")
    if array.size == 0:
        return np.zeros(0, np.uint32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what} are {array.dtype}, expected whole numbers")
    if array.min() < 0 or array.max() > 0xFFFFFFFF:
        worst = array.min() if array.min() < 0 else array.max()
        raise LacError(f"{what} hold {worst}, expected numbers from 0 to {0xFFFFFFFF}")
    return np.ascontiguousarray(array, np.uint32)


def as_json(messages: Messages) -> str:
    """Returns a conversation as JSON."""
    try:
        return json.dumps(messages if isinstance(messages, Mapping) else list(messages))
    except (TypeError, ValueError) as error:
        raise LacError(f"the messages cannot be written as JSON: {error}") from error


def encode(model: _lac.Model, prompt: Prompt, raw: bool) -> tuple[str, Ids]:
    """Returns the text and the ids of a prompt; the text of ids is empty."""
    if isinstance(prompt, bytes):
        raise TypeError("a prompt is bytes, expected a text: decode them first")
    if isinstance(prompt, str):
        return model.prompt(prompt, raw)
    is_conversation = isinstance(prompt, Mapping) or (
        not isinstance(prompt, np.ndarray) and len(prompt) > 0 and isinstance(prompt[0], Mapping)
    )
    if is_conversation:
        if raw:
            raise LacError("raw takes texts, and this is a conversation")
        messages = as_json(prompt)  # type: ignore[arg-type]
        return model.chat(messages, add_generation_prompt=True, template=None, now=None)
    ids = token_ids(prompt)
    if not ids.size:
        raise LacError("the prompt is empty: it holds no token")
    return "", ids


def encode_all(model: _lac.Model, prompts: Prompts, raw: bool) -> tuple[list[str], list[Ids], bool]:
    """Returns the texts and the ids of all prompts, and whether they were several."""
    if not is_many(prompts):
        text, ids = encode(model, prompts, raw)  # type: ignore[arg-type]
        return [text], [ids], False
    encoded = []
    for idx, prompt in enumerate(prompts):
        try:
            encoded.append(encode(model, prompt, raw))
        except LacError as error:
            raise LacError(f"prompt {idx}: {error}") from error
    return [text for text, _ in encoded], [ids for _, ids in encoded], True
