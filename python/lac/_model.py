"""The model: loaded, and all that is done with it."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from . import _lac
from ._errors import LacError, tell
from ._generation import Generation, PhasePair, TextStream, generation
from ._plan import Plan
from ._policy import DEFAULT_ALPHA, AnyPolicy, policy_args
from ._progress import progress as show
from ._prompts import Ids, Messages, Prompt, Prompts, as_json, encode, encode_all, token_ids
from ._trace import Lens, PathLike, Trace, TraceFile, open_trace, trace_of_columns

#: Number of tokens of a window of `Model.perplexity`.
WINDOW = 512

#: The embedded model lies in a temporary folder, which goes with it: interpreters may end without forgetting models.
_open: weakref.WeakSet[Model] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for model in list(_open):
        model.close()


@dataclass(frozen=True)
class Perplexity:
    """How well a text is predicted, and how far a policy's predictions are from the full model's."""

    #: Number of tokens of the text.
    tokens: int
    #: Number of tokens that were scored.
    scored: int
    #: Number of windows that were read.
    windows: int
    #: The exponential of the mean negative log-likelihood of the scored tokens.
    perplexity: float
    #: Its standard error.
    standard_error: float
    #: Share of layers that were active.
    active: PhasePair
    #: Number of layers that were run for a pass.
    executed: PhasePair
    #: The full model's perplexity, where a policy was given, and so for the numbers below.
    full_perplexity: float | None = None
    #: The mean Kullback-Leibler divergence from the full model, in nats.
    kl: float | None = None
    #: Its standard error.
    kl_standard_error: float | None = None
    #: The largest divergence of a token.
    kl_max: float | None = None
    #: Share of tokens for which both name the same likeliest next token.
    top1_agreement: float | None = None

    def __float__(self) -> float:
        return self.perplexity


def load(
    model: PathLike,
    *,
    dtype: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    quantize: str | None = None,
    strict: bool = False,
    dummy_weights: bool = False,
    progress: bool | None = None,
) -> Model:
    """Loads a model.

    Args:
        model: `demo` for the small model that lac carries, a folder in Hugging Face layout, a GGUF file or a folder
            that holds one, or an id on the Hugging Face hub (`org/name`, for GGUF `org/name:Q4_K_M`), which is
            downloaded into the hub's cache unless it is there.
        dtype: The data type to compute in: `auto` (the checkpoint's own; for quantised weights the fast products),
            `f32`, `f16` or `bf16`.
        device: `cpu`, or `wgpu`, `vulkan`, `cuda`, with a number after a colon, where the package was built with them.
        threads: Threads that compute on the CPU, for the whole process; by default one for each core. They cannot be
            changed once something was computed.
        quantize: `q8_0` or `q4_0` quantises the matrices while they are loaded.
        strict: Refuses a config.json with fields that lac does not know, in place of a warning.
        dummy_weights: Random weights of config.json's shape in place of the model's own.
        progress: Whether a bar is shown; by default where somebody looks and tqdm is installed.

    Raises:
        LacError: What is wrong with the model, or that it does not fit into memory.
    """
    if threads is not None and not _lac.set_threads(threads):
        text = f"threads={threads} has no effect: this process computes with others already"
        tell([(True, text)])
    with show("loading", "B", progress, scale=True) as report:
        args = {
            "model": Path(model),
            "dtype": dtype,
            "device": device,
            "quantize": quantize,
            "strict": strict,
            "dummy_weights": dummy_weights,
        }
        loaded, notices = _lac.Model.load(args, report)
    tell(notices)
    return Model(loaded)


def devices() -> dict[str, list[str] | None]:
    """Returns the kinds of devices with those that were found; None where the package was built without a kind."""
    return dict(_lac.devices())


class Model:
    """A loaded model. `lac.load` makes one.

    Several threads may use one model at once. It is a context manager: at the end of `with` its memory is free.

    Prompts are texts, which go through the chat template where the model has one (`raw=True` takes them as they are),
    lists of messages (`[{"role": "user", "content": "…"}]`), or token ids, which are taken as they are. Where several
    prompts are allowed, a list of these does.
    """

    def __init__(self, loaded: _lac.Model):
        self._loaded = loaded
        _open.add(self)

    # What it is

    @property
    def name(self) -> str:
        """The name by which it was loaded."""
        return self._loaded.name

    @property
    def architecture(self) -> str:
        """The family of the model, such as `qwen2`."""
        return self._loaded.architecture

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return self._loaded.n_layers

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return self._loaded.hidden_size

    @property
    def vocab_size(self) -> int:
        """Number of tokens, which is the width of the logits."""
        return self._loaded.vocab_size

    @property
    def max_context(self) -> int:
        """The greatest number of tokens of a text."""
        return self._loaded.max_context

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return self._loaded.n_parameters

    @property
    def dtype(self) -> str:
        """The types of the weights."""
        return self._loaded.dtype

    @property
    def device(self) -> str:
        """The device that is computed on."""
        return self._loaded.device

    @property
    def has_chat_template(self) -> bool:
        """Whether texts go through a chat template."""
        return self._loaded.has_chat_template

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end an answer."""
        return self._loaded.stop_ids

    @property
    def special_ids(self) -> dict[str, int | None]:
        """The tokens that begin and end a text, and that fill up a batch: `bos`, `eos`, `pad`."""
        return dict(zip(("bos", "eos", "pad"), self._loaded.special_ids))

    def __repr__(self) -> str:
        if self._loaded.closed:
            return "<lac.Model, closed>"
        n = self.n_parameters
        size = f"{n / 1e9:.2f} billion" if n >= 1e9 else f"{n / 1e6:.1f} million"
        return (
            f"<lac.Model {self.name}: {self.architecture}, {size} parameters, {self.n_layers} layers, "
            f"{self.dtype} on {self.device}>"
        )

    # Its life

    def close(self) -> None:
        """Forgets the weights, once no other thread computes with them."""
        self._loaded.close()

    @property
    def closed(self) -> bool:
        """Whether the model was closed."""
        return self._loaded.closed

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a model cannot be pickled: pickle its name, and load it again")

    # Texts and tokens

    def tokenize(self, text: str, *, special: str = "once") -> Ids:
        """Returns the ids of a text, without a chat template.

        `special` says which special tokens are put around it: `once` those that the tokenizer is set to add, but no
        second BOS, `never` none, `always` as transformers does.
        """
        return self._loaded.tokenize(text, special)

    def encode(self, prompt: Prompt, *, raw: bool = False) -> Ids:
        """Returns the ids of a prompt as the model is given it."""
        return encode(self._loaded, prompt, raw)[1]

    def decode(self, ids: Any, *, skip_special_tokens: bool = True) -> str:
        """Returns the text of ids."""
        return self._loaded.decode(token_ids(ids), skip_special_tokens)

    def pieces(self, ids: Any) -> list[str]:
        """Returns the vocabulary's spelling of ids, such as `Ġthe`; empty where it has none."""
        return [piece or "" for piece in self._loaded.pieces(token_ids(ids))]

    def apply_chat_template(
        self,
        messages: Messages,
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = True,
        template: str | None = None,
        now: str | None = None,
    ) -> Any:
        """Renders a conversation in the model's chat format; returns the text, or the ids where `tokenize` is True.

        A mapping has the messages under `messages`, and further variables of the template (`tools`, `documents`, …)
        beside them. `template` names one of several templates, `now` is the time that templates write
        (`2026-07-01T12:00:00`).
        """
        text, ids = self._loaded.chat(
            as_json(messages), add_generation_prompt=add_generation_prompt, template=template, now=now
        )
        return ids if tokenize else text

    # Writing

    @overload
    def generate(self, prompt: str | Messages, **settings: Any) -> Generation: ...
    @overload
    def generate(self, prompt: Prompts, **settings: Any) -> Any: ...
    def generate(
        self,
        prompt: Prompts,
        *,
        max_new_tokens: int = 128,
        policy: AnyPolicy = "off",
        alpha: float | None = None,
        plan: Plan | PathLike | None = None,
        raw: bool = False,
        stop: str | Sequence[str] = (),
        batch_size: int = 1,
        progress: bool | None = None,
        **sampling: Any,
    ) -> Any:
        """Continues a prompt, or several. Returns a `Generation`, or a list of them.

        Args:
            prompt: A prompt, or a list of them.
            max_new_tokens: At most this many new tokens.
            policy: What is done about voids: a name (`off`, `trace`, `last-active`, `bypass`, `halt`, `planned`), or a
                policy as an object, which may be your own.
            alpha: α of a policy given by name.
            plan: The plan that `planned` follows, or its file.
            raw: Texts are taken as they are, without the chat template.
            stop: End at this text, or any of these, which is cut off.
            batch_size: How many prompts are continued side by side.
            progress: Whether a bar is shown.
            sampling: How tokens are chosen: `greedy`, `temperature`, `top_p`, `top_k`, `min_p`, `seed`,
                `repetition_penalty`, `no_repeat_ngram_size`, `ignore_generation_config`. Where none of the first five
                is given, the model's generation_config.json decides whether tokens are drawn.
        """
        _, prompts, many = encode_all(self._loaded, prompt, raw)
        policy_fields = policy_args(policy, alpha, plan)
        settings = _settings(max_new_tokens, stop, batch_size, sampling)
        with show("generating", "prompt", progress) as report:
            rows, notices = _lac.generate(self._loaded, prompts, policy_fields, settings, report)
        tell(notices)
        name = policy_fields["name"]
        texts = [generation(row, ids, name) for row, ids in zip(rows, prompts)]
        return texts if many else texts[0]

    def stream(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int = 128,
        policy: AnyPolicy = "off",
        alpha: float | None = None,
        plan: Plan | PathLike | None = None,
        raw: bool = False,
        stop: str | Sequence[str] = (),
        **sampling: Any,
    ) -> TextStream:
        """Continues a prompt, and returns an iterator over the pieces of the text while it is written.

        The arguments are those of `generate`. The iterator's `result` has the whole text at the end.
        """
        if self._loaded.has_tokenizer is False:
            raise LacError("the model has no tokenizer.json: its tokens have no text")
        ids = encode(self._loaded, prompt, raw)[1]
        policy_fields = policy_args(policy, alpha, plan)
        settings = _settings(max_new_tokens, stop, 1, sampling)
        stream = _lac.stream(self._loaded, ids, policy_fields, settings)
        return TextStream(stream, ids, policy_fields["name"])

    # Looking inside

    @overload
    def trace(self, prompt: Prompts, *, out: None = None, **settings: Any) -> Trace: ...
    @overload
    def trace(self, prompt: Prompts, *, out: PathLike, **settings: Any) -> TraceFile: ...
    def trace(
        self,
        prompt: Prompts,
        *,
        max_new_tokens: int = 50,
        policy: AnyPolicy = "trace",
        alpha: float | None = None,
        plan: Plan | PathLike | None = None,
        raw: bool = False,
        stop: str | Sequence[str] = (),
        measures: str | None = None,
        lens: int | None = None,
        lens_file: PathLike | None = None,
        batch_size: int = 1,
        out: PathLike | None = None,
        progress: bool | None = None,
        **sampling: Any,
    ) -> Trace | TraceFile:
        """Traces a prompt and its response, or several: norms, deltas, thresholds and flags per token and layer.

        The arguments are those of `generate`; `max_new_tokens=0` traces prompts alone. `measures` is `layers` or
        `sublayers` and measures every layer beside the norm; `lens` looks at the state after every layer through the
        final norm and the head, and keeps so many of the most probable tokens, with the maps of a tuned lens where
        `lens_file` names a safetensors file of them. With `out` the trace goes to a
        Parquet file while it is made, in bounded memory, and a `TraceFile` is returned; an interrupted run is
        continued by the same call.
        """
        _, prompts, many = encode_all(self._loaded, prompt, raw)
        del many
        policy_fields = policy_args(policy, alpha, plan)
        settings = _settings(max_new_tokens, stop, batch_size, sampling, measures, lens, lens_file)
        with show("tracing", "prompt", progress) as report:
            if out is not None:
                _, notices = _lac.trace_to_file(self._loaded, prompts, policy_fields, settings, Path(out), report)
                tell(notices)
                return open_trace(out)
            columns, info, rows, notices = _lac.trace(self._loaded, prompts, policy_fields, settings, report)
        tell(notices)
        vocabulary: dict[int, str] = {}
        if self._loaded.has_tokenizer:
            named = [columns["token_ids"].reshape(-1)]
            if "lens" in columns:
                named.append(columns["lens"]["ids"].reshape(-1))
            ids = np.unique(np.concatenate(named))
            vocabulary = dict(zip(ids.tolist(), self.pieces(ids)))
            columns["pieces"] = [vocabulary[token] for token in columns["token_ids"].tolist()]
        name = policy_fields["name"]
        texts = [generation(row, ids, name) for row, ids in zip(rows, prompts)]
        return trace_of_columns(columns, info, texts, vocabulary)

    def lens(self, prompt: Prompt, *, top: int = 5, lens_file: PathLike | None = None, raw: bool = False) -> Lens:
        """Returns what a logit lens sees of a prompt: the `top` most probable next tokens after every layer.

        With `lens_file`, a safetensors file of the maps of the package tuned-lens, it is a tuned lens.
        """
        lens = self.trace(prompt, max_new_tokens=0, raw=raw, lens=top, lens_file=lens_file).lens
        assert lens is not None
        return lens

    def hidden_states(
        self, prompt: Prompt, *, raw: bool = False, states: Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """Returns the residual stream of the full model, `[layer + 1, token, hidden]`.

        State 0 is the embedding, state l + 1 the output of layer l, the last one before the final norm (where
        transformers' last hidden state is the one after it). `states` keeps some of them alone, in their order.
        """
        ids = encode(self._loaded, prompt, raw)[1]
        return _lac.hidden_states(self._loaded, ids, None if states is None else list(states))

    def logits(
        self,
        prompt: Prompt,
        *,
        raw: bool = False,
        last_only: bool = False,
        policy: AnyPolicy = "off",
        alpha: float | None = None,
        plan: Plan | PathLike | None = None,
    ) -> npt.NDArray[np.float32]:
        """Returns the logits of the next token after every token of a prompt, or the last alone: `[token, vocab]`."""
        ids = encode(self._loaded, prompt, raw)[1]
        return _lac.logits(self._loaded, ids, last_only, policy_args(policy, alpha, plan))

    def loglikelihood(
        self,
        context: Any,
        continuation: Any = None,
        *,
        policy: AnyPolicy = "off",
        alpha: float | None = None,
        plan: Plan | PathLike | None = None,
        batch_size: int = 16,
        progress: bool | None = None,
    ) -> Any:
        """Returns the log-likelihood of a continuation after its context, and whether it is the greedy one.

        Texts are taken as they are and tokenised as lm-evaluation-harness does; token ids as they are. A context that
        is too long loses its beginning. With a list of pairs `(context, continuation)` in the place of both, it
        returns an array of log-likelihoods and one of flags, in their order: far faster than pair by pair.
        """
        many = continuation is None
        if many and (isinstance(context, (str, bytes, np.ndarray)) or not isinstance(context, Sequence)):
            raise TypeError("give a context and a continuation, or a list of such pairs")
        pairs = context if many else [(context, continuation)]
        encoded = []
        for index, pair in enumerate(pairs):
            try:
                encoded.append(self._encode_pair(*pair))
            except LacError as error:
                raise LacError(f"pair {index}: {error}" if many else str(error)) from error
        with show("scoring", "pair", progress if many else False) as report:
            values, greedy = _lac.loglikelihoods(
                self._loaded, encoded, policy_args(policy, alpha, plan), batch_size, report
            )
        return (values, greedy) if many else (float(values[0]), bool(greedy[0]))

    def _encode_pair(self, context: Any, continuation: Any) -> tuple[Ids, Ids]:
        if isinstance(context, str) and isinstance(continuation, str):
            return _lac.encode_pair(self._loaded, context, continuation)
        if isinstance(context, (str, bytes)) or isinstance(continuation, (str, bytes)):
            raise TypeError("a context and its continuation are both texts, or both token ids")
        return token_ids(context, "the context"), token_ids(continuation, "the continuation")

    # Measuring

    def perplexity(
        self,
        text: Any,
        *,
        context: int = WINDOW,
        windows: int | None = None,
        policy: AnyPolicy | None = None,
        alpha: float | None = None,
        plan: Plan | PathLike | None = None,
        phase: str = "prompt",
        progress: bool | None = None,
    ) -> Perplexity:
        """Measures how well a text is predicted, and how far a policy's predictions are from the full model's.

        The text (or its ids, or the path of its file) is cut into windows of `context` tokens without overlap, at most
        `windows` of them; the second half of each is scored, as llama.cpp's tool does. `phase` is the one that the text
        counts as under a plan.
        """
        if isinstance(text, os.PathLike):
            path = Path(text)
            try:
                text = path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise LacError(f"cannot read {path}: {error}") from error
        ids = self.tokenize(text) if isinstance(text, str) else token_ids(text)
        if policy is None:
            policy = "off" if plan is None else "planned"
        fields = policy_args(policy, alpha, plan)
        with show("perplexity", "window", progress) as report:
            args = {"context": context, "windows": windows, "phase": phase}
            numbers = _lac.perplexity(self._loaded, ids, fields, args, report)
        for pair in ("active", "executed"):
            numbers[pair] = PhasePair(*numbers[pair])
        return Perplexity(**numbers)

    def plan(
        self,
        prompts: Prompts,
        *,
        max_new_tokens: int = 50,
        alpha: float = DEFAULT_ALPHA,
        by: str = "usage",
        seed: int = 0,
        keep_share: float | None = None,
        keep_layers: int | None = None,
        keep_at_least: float | None = None,
        sublayers: bool = False,
        phase: str = "both",
        skipped_keys: str = "fill",
        raw: bool = False,
        progress: bool | None = None,
    ) -> Plan:
        """Learns from traces of prompts which layers need not be run.

        Args:
            prompts: What is traced.
            max_new_tokens: New tokens that are traced for each prompt.
            alpha: α of the gate that traces.
            by: What layers are ranked by: `usage`, `mean-delta`, `influence` or `lens`; baselines are `random` and
                `last`.
            seed: The seed of `random`.
            keep_share: Share of the layers that is kept; 0.7 where none of these three is given.
            keep_layers: Number of layers that are kept.
            keep_at_least: Rank that kept layers reach.
            sublayers: Attention and MLP are chosen apart.
            phase: The phase whose layers are skipped: `both`, `prompt` or `response`.
            skipped_keys: What happens to keys and values of skipped layers: `fill` or `leave-out`.
            raw: Texts are taken as they are, without the chat template.
            progress: Whether a bar is shown.
        """
        _, ids, _ = encode_all(self._loaded, prompts, raw)
        args = {
            "alpha": float(alpha),
            "max_new_tokens": max_new_tokens,
            "by": by.replace("_", "-"),
            "seed": seed,
            "keep_share": keep_share,
            "keep_layers": keep_layers,
            "keep_at_least": keep_at_least,
            "sublayers": sublayers,
            "phase": phase,
            "skipped_keys": skipped_keys.replace("_", "-"),
        }
        with show("tracing", "prompt", progress) as report:
            return Plan.from_json(_lac.plan(self._loaded, ids, args, report))


#: How tokens are chosen.
_SAMPLING = (
    "greedy",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "ignore_generation_config",
)


def _settings(
    max_new_tokens: int,
    stop: str | Sequence[str],
    batch_size: int,
    sampling: dict[str, Any],
    measures: str | None = None,
    lens: int | None = None,
    lens_file: PathLike | None = None,
) -> dict[str, Any]:
    """Returns what the compiled half needs to know of a generation."""
    unknown = [name for name in sampling if name not in _SAMPLING]
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}; sampling takes {', '.join(_SAMPLING)}")
    drawn = [name for name in _SAMPLING[1:5] if sampling.get(name) is not None]
    if sampling.get("greedy") and drawn:
        raise LacError(f"greedy takes the most probable token: it excludes {drawn[0]}")
    return {
        "max_new_tokens": max_new_tokens,
        "stop": [stop] if isinstance(stop, str) else list(stop),
        "batch_size": batch_size,
        "measures": "off" if measures is None else measures,
        "lens": lens,
        "lens_file": None if lens_file is None else Path(lens_file),
        **sampling,
    }
