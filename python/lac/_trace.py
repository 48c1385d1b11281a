"""Traces: what every layer did for every token."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from . import _lac
from ._display import html, readable
from ._errors import LacError, LacWarning

if TYPE_CHECKING:
    from ._generation import Generation

PathLike = Union[str, "os.PathLike[str]"]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

#: Arrays with a number for each token and layer.
_MATRICES = ("norms", "deltas", "thresholds", "active", "executed")
#: Those that not every trace has, and what is a layer's.
_OPTIONAL = ("experts", "expert_weights")
_VECTORS = ("sequences", "responses", "positions", "token_ids", "embedding_norms")


@dataclass(frozen=True)
class Info:
    """What a trace says of itself."""

    #: The model's name.
    model: str
    #: Number of layers of the model.
    n_layers: int
    #: The types of the weights.
    dtype: str
    #: The device that was computed on.
    device: str
    #: The policy's name.
    policy: str
    #: α of the gate.
    alpha: float
    #: Seed of the draws; None where tokens were not drawn.
    seed: int | None
    #: Whatever else is worth knowing.
    notes: dict[str, str]
    #: All of it, as files have it.
    json: str

    @classmethod
    def from_json(cls, text: str) -> Info:
        """Reads what the compiled half says of a trace."""
        fields = json.loads(text)
        return cls(
            model=fields["model"],
            n_layers=fields["n_layers"],
            dtype=fields["dtype"],
            device=fields["device"],
            policy=fields["policy"],
            alpha=fields["gate"]["alpha"],
            seed=fields["seed"],
            notes=fields["notes"],
            json=text,
        )


@dataclass(frozen=True, eq=False, repr=False)
class Lens:
    """What a lens saw: the final norm and the head applied to the state after every layer."""

    #: The most probable next tokens, `[token, layer, top]`, the most probable one first.
    ids: npt.NDArray[np.uint32]
    #: Their log-probabilities, `[token, layer, top]`.
    logprobs: Floats
    #: The entropy of the distribution, `[token, layer]`, in nats.
    entropy: Floats
    #: Its divergence from the one after the last layer, `KL(p_last ‖ p_layer)`, `[token, layer]`, in nats.
    kl: Floats
    #: The vocabulary's spelling of the ids; empty for a trace of a file.
    vocabulary: dict[int, str] = field(default_factory=dict)

    @property
    def tokens(self) -> npt.NDArray[np.object_]:
        """The texts of the most probable tokens, `[token, layer, top]`; ids where they have no spelling."""
        ids, places = np.unique(self.ids, return_inverse=True)
        texts = np.array([readable(self.vocabulary.get(int(i), f"#{i}")) for i in ids], dtype=object)
        tokens: npt.NDArray[np.object_] = texts[places.reshape(self.ids.shape)]
        return tokens

    @property
    def decided_at(self) -> npt.NDArray[np.int64]:
        """The layer from which on the most probable token stays the last layer's, `[token]`."""
        top = self.ids[:, :, 0]
        differs = top != top[:, -1:]
        # The place after the last layer that differs; 0 where none does.
        last = top.shape[1] - differs[:, ::-1].argmax(axis=1)
        decided: npt.NDArray[np.int64] = np.where(differs.any(axis=1), last, 0)
        return decided

    def __getitem__(self, chosen: Any) -> Lens:
        return replace(
            self,
            ids=self.ids[chosen],
            logprobs=self.logprobs[chosen],
            entropy=self.entropy[chosen],
            kl=self.kl[chosen],
        )

    def __repr__(self) -> str:
        n_tokens, n_layers, n_top = self.ids.shape
        return f"<lac.Lens: the {n_top} most probable tokens after {n_layers} layers of {n_tokens} tokens>"


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """What every layer did for every token that was fed, one sequence after another.

    Arrays are `[token]` and `[token, layer]`. `trace.prompt` and `trace.response` have the tokens of one phase,
    `trace.sequence(0)` those of one prompt with its response, and `trace[mask]` any others. The last token of a
    response was chosen and not fed: nothing was measured of it.
    """

    #: What the trace says of itself.
    info: Info
    #: Which prompt each token belongs to, from 0.
    sequences: npt.NDArray[np.uint32]
    #: Whether each token is of the response.
    responses: Flags
    #: Place of each token in its sequence, from 0.
    positions: npt.NDArray[np.uint32]
    #: The tokens' ids.
    token_ids: npt.NDArray[np.uint32]
    #: The vocabulary's spelling of the tokens; empty texts without a tokenizer.
    tokens: Sequence[str]
    #: Norms before any layer.
    embedding_norms: Floats
    #: Norms after each layer.
    norms: Floats
    #: What each layer changed of the norm.
    deltas: Floats
    #: What each delta was held against.
    thresholds: Floats
    #: Whether the layer was active; otherwise it was a void.
    active: Flags
    #: Whether the layer was run at all.
    executed: Flags
    #: What was measured beside the norm, by name, `[token, layer]` each: `cosine` (of a layer's input and output; block
    #: influence is 1 less that) and `contribution` (‖output − input‖ / ‖input‖), and of attentions and MLPs apart
    #: `attention_cosine`, `attention_contribution`, `mlp_cosine`, `mlp_contribution`, `attention_share`.
    measures: dict[str, Floats] = field(default_factory=dict)
    #: What a lens saw after each layer; None without one.
    lens: Lens | None = None
    #: The experts that each token went through, `[token, layer, choice]`, −1 for none; for a model that has them.
    experts: npt.NDArray[np.int32] | None = None
    #: The weights of these experts.
    expert_weights: Floats | None = None
    #: The texts that were written while this was traced; empty for a trace of a file.
    generations: Sequence[Generation] = ()

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return int(self.norms.shape[1])

    @property
    def n_sequences(self) -> int:
        """Number of prompts."""
        return len(np.unique(self.sequences))

    @property
    def phases(self) -> npt.NDArray[np.str_]:
        """The phase of each token: `prompt` or `response`."""
        return np.where(self.responses, "response", "prompt")

    @property
    def prompt(self) -> Trace:
        """The tokens of prompts."""
        return self[~self.responses]

    @property
    def response(self) -> Trace:
        """The tokens of responses."""
        return self[self.responses]

    def sequence(self, index: int) -> Trace:
        """Returns the tokens of one prompt and its response."""
        chosen = self.sequences == index
        if not chosen.any():
            raise LacError(f"the trace has no sequence {index}")
        return self[chosen]

    @property
    def usage(self) -> dict[str, npt.NDArray[np.float64]]:
        """Share of tokens for which each layer was active, by phase, `[layer]`; NaN in a phase without tokens."""
        usage = {}
        for phase, chosen in (("prompt", ~self.responses), ("response", self.responses)):
            active = self.active[chosen]
            empty = np.full(self.n_layers, np.nan)
            usage[phase] = active.mean(axis=0) if len(active) else empty
        return usage

    @property
    def title(self) -> str:
        """The trace in a line."""
        info = self.info
        return f"{info.model}, {info.policy}, α {info.alpha:g}: {len(self)} tokens × {self.n_layers} layers"

    def at_alpha(self, alpha: float) -> Trace:
        """Returns the thresholds and flags of another α.

        They follow from the deltas, without another run, where the policy leaves states as they are: under `trace` and
        `last-active`. The gate's arithmetic is that of f32.
        """
        if self.info.policy not in ("trace", "last-active"):
            raise LacError(
                f'under {self.info.policy} deltas depend on alpha: trace again, or trace under policy="trace"'
            )
        if not (np.isfinite(alpha) and alpha >= 0):
            raise LacError(f"alpha is {alpha}, expected a number that is not negative")
        highest = np.maximum.accumulate(self.deltas, axis=1)
        lowest = np.minimum.accumulate(self.deltas, axis=1)
        thresholds = np.zeros_like(self.deltas)
        thresholds[:, 1:] = np.float32(alpha) * (highest - lowest)[:, :-1]
        fields = json.loads(self.info.json)
        fields["gate"]["alpha"] = float(np.float32(alpha))
        info = Info.from_json(json.dumps(fields))
        return replace(self, info=info, thresholds=thresholds, active=self.deltas >= thresholds)

    def __getitem__(self, chosen: Any) -> Trace:
        """Returns some tokens: by a mask, a slice or a list of places."""
        if isinstance(chosen, (int, np.integer)):
            chosen = slice(chosen, chosen + 1 or None)
        places = np.arange(len(self))[chosen]
        picked = {name: getattr(self, name)[chosen] for name in (*_VECTORS, *_MATRICES)}
        for name in _OPTIONAL:
            values = getattr(self, name)
            picked[name] = None if values is None else values[chosen]
        picked["measures"] = {name: values[chosen] for name, values in self.measures.items()}
        picked["lens"] = None if self.lens is None else self.lens[chosen]
        return replace(self, tokens=[self.tokens[place] for place in places], **picked)

    def __len__(self) -> int:
        return len(self.sequences)

    def __repr__(self) -> str:
        usage = {phase: np.nanmean(values) for phase, values in self.usage.items() if len(values)}
        shares = ", ".join(f"{phase} {100 * share:.1f} % active" for phase, share in usage.items() if share == share)
        return f"<lac.Trace of {self.title}; {shares}>"

    def _repr_html_(self) -> str:
        return html(self)

    # Data frames

    def _tidy(self) -> dict[str, Any]:
        """Columns with a row for each token and layer; texts as places in a list of them."""
        n_layers = self.n_layers
        texts, places = np.unique(np.asarray(self.tokens, dtype=object), return_inverse=True)

        def repeated(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.repeat(values, n_layers)

        columns: dict[str, Any] = {
            "sequence": repeated(self.sequences),
            "phase": (["prompt", "response"], repeated(self.responses).astype(np.int32)),
            "position": repeated(self.positions),
            "token_id": repeated(self.token_ids),
            "token": ([str(text) for text in texts], repeated(places.reshape(-1)).astype(np.int32)),
            "layer": np.tile(np.arange(n_layers, dtype=np.int32), len(self)),
        }
        for column, name in (
            ("norm", "norms"),
            ("delta", "deltas"),
            ("threshold", "thresholds"),
            ("active", "active"),
            ("executed", "executed"),
        ):
            columns[column] = np.ascontiguousarray(getattr(self, name)).reshape(-1)
        for column, values in self.measures.items():
            columns[column] = np.ascontiguousarray(values).reshape(-1)
        if self.lens is not None:
            columns["lens_entropy"] = np.ascontiguousarray(self.lens.entropy).reshape(-1)
            columns["lens_kl"] = np.ascontiguousarray(self.lens.kl).reshape(-1)
        return columns

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Hands a row for each token and layer to any library that reads Arrow's streams."""
        return _lac.arrow_stream(self._tidy())

    def to_pandas(self) -> Any:
        """Returns a pandas data frame with a row for each token and layer."""
        import pandas as pd

        columns = {
            name: pd.Categorical.from_codes(values[1], categories=values[0]) if isinstance(values, tuple) else values
            for name, values in self._tidy().items()
        }
        return pd.DataFrame(columns)

    def to_polars(self) -> Any:
        """Returns a polars data frame with a row for each token and layer."""
        import polars as pl

        return pl.DataFrame(self)

    def to_arrow(self) -> Any:
        """Returns a table of pyarrow with a row for each token and layer."""
        import pyarrow as pa

        return pa.table(self)

    # Files and pictures

    def save(self, path: PathLike) -> None:
        """Writes the trace as a Parquet file, which `read_trace`, `lac report` and any reader of Parquet take.

        The file has a row for each token, with lists of layers.
        """
        pieces = {int(id): token for id, token in zip(self.token_ids, self.tokens) if token}
        columns: dict[str, Any] = {name: np.ascontiguousarray(getattr(self, name)) for name in (*_VECTORS, *_MATRICES)}
        columns["measures"] = {name: np.ascontiguousarray(values) for name, values in self.measures.items()}
        if self.lens is not None:
            names = ("ids", "logprobs", "entropy", "kl")
            columns["lens"] = {name: np.ascontiguousarray(getattr(self.lens, name)) for name in names}
        if self.experts is not None and self.expert_weights is not None:
            columns["experts"] = np.ascontiguousarray(self.experts)
            columns["expert_weights"] = np.ascontiguousarray(self.expert_weights)
        _lac.write_trace(Path(path), columns, self.info.json, pieces)

    def statistics(self) -> dict[str, Any]:
        """Returns the statistics of the trace, those of `statistics.json` in a report."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.parquet"
            self.save(path)
            statistics: dict[str, Any] = json.loads(_lac.statistics(path))
        return statistics

    def plot(self, ax: Any = None, *, values: str = "active", max_tokens: int = 80) -> Any:
        """Draws tokens × layers with matplotlib, and returns the axes.

        `values` is `active`, `norms`, `deltas`, `thresholds`, the name of a measure, or `lens_entropy` or `lens_kl`;
        `max_tokens` are drawn.
        """
        import matplotlib.pyplot as plt

        lens = {} if self.lens is None else {"lens_entropy": self.lens.entropy, "lens_kl": self.lens.kl}
        matrix = {**self.measures, **lens}.get(values, getattr(self, values, None))
        if not isinstance(matrix, np.ndarray) or matrix.shape[:2] != self.norms.shape or matrix.ndim != 2:
            raise LacError(f"values is {values!r}, expected an array of the trace with a number for each layer")
        n_shown = min(len(self), max_tokens)
        shown = matrix[:n_shown].astype(np.float32)
        if ax is None:
            size = (2.5 + 0.22 * self.n_layers, 1.2 + 0.18 * n_shown)
            _, ax = plt.subplots(figsize=size, layout="constrained")
        if values == "active":
            shown = np.where(self.executed[:n_shown], shown, np.nan)
            ax.imshow(shown, aspect="auto", cmap="Blues", vmin=-0.1, vmax=1.2, interpolation="nearest")
        else:
            limit = float(np.nanquantile(np.abs(shown), 0.99)) or 1.0
            signed = bool((shown < 0).any())
            image = ax.imshow(
                shown,
                aspect="auto",
                cmap="RdBu_r" if signed else "viridis",
                vmin=-limit if signed else 0.0,
                vmax=limit,
                interpolation="nearest",
            )
            ax.figure.colorbar(image, ax=ax, label=values)
        labels = [readable(token).replace("$", r"\$").strip("\n") for token in self.tokens[:n_shown]]
        ax.set_yticks(range(n_shown), labels, fontsize=7)
        ax.set_xlabel("layer")
        ends = np.flatnonzero(np.diff(self.responses[:n_shown].astype(int)) != 0)
        for end in ends:
            ax.axhline(end + 0.5, color="tab:orange", linewidth=1)
        ax.set_title(self.title, fontsize=8)
        return ax


def trace_of_columns(
    columns: dict[str, Any],
    info: str,
    generations: Sequence[Generation] = (),
    vocabulary: dict[int, str] | None = None,
) -> Trace:
    """Makes a trace of what the compiled half collected, one sequence after another."""
    pieces = columns.pop("pieces", None)
    lens = columns.pop("lens", None)
    if lens is not None:
        columns["lens"] = Lens(**lens, vocabulary=vocabulary or {})
    n_tokens = len(columns["sequences"])
    tokens = ["" if piece is None else piece for piece in pieces] if pieces else [""] * n_tokens
    trace = Trace(info=Info.from_json(info), tokens=tokens, generations=generations, **columns)
    steps = np.diff(trace.sequences.astype(np.int64))
    if (steps < 0).any() or n_tokens == 0:
        # The rows of a batch alternate.
        trace = trace[np.lexsort((trace.positions, trace.sequences))]
    return trace


def read_trace(path: PathLike) -> Trace:
    """Reads a trace that `lac trace --out`, `Model.trace` or `Trace.save` has written, whole into memory."""
    columns, info, is_interrupted = _lac.read_trace(Path(path))
    if is_interrupted:
        _warn_interrupted(path, len(columns["sequences"]))
    return trace_of_columns(columns, info)


def _warn_interrupted(path: PathLike, n_tokens: int) -> None:
    import warnings

    text = f"{os.fspath(path)} is of an interrupted run: {n_tokens} tokens had been written"
    warnings.warn(text, LacWarning, stacklevel=3)


@dataclass(frozen=True)
class TraceFile:
    """A trace on disk that is not read yet."""

    #: The file.
    path: Path
    #: What the trace says of itself.
    info: Info
    #: Number of tokens.
    n_tokens: int

    def read(self) -> Trace:
        """Reads the trace whole into memory."""
        return read_trace(self.path)

    def statistics(self) -> dict[str, Any]:
        """Returns the statistics of the trace; it is read a part at a time."""
        statistics: dict[str, Any] = json.loads(_lac.statistics(self.path))
        return statistics

    def __len__(self) -> int:
        return self.n_tokens

    def __fspath__(self) -> str:
        return str(self.path)


def open_trace(path: PathLike) -> TraceFile:
    """Opens a trace on disk without reading its tokens."""
    info, n_tokens, is_interrupted = _lac.trace_info(Path(path))
    if is_interrupted:
        _warn_interrupted(path, n_tokens)
    return TraceFile(Path(path), Info.from_json(info), n_tokens)


def report(
    traces: Trace | PathLike | TraceFile | Sequence[Trace | PathLike | TraceFile],
    out: PathLike,
    *,
    max_tokens: int = 10_000,
) -> list[Path]:
    """Writes a page for the browser, statistics and pictures of traces into a folder, as `lac report --out` does.

    Returns the files. Several traces are compared.
    """
    several = traces if isinstance(traces, Sequence) and not isinstance(traces, (str, Trace)) else [traces]
    with tempfile.TemporaryDirectory() as folder:
        paths = list(_paths(several, Path(folder)))
        return [Path(path) for path in _lac.report(paths, Path(out), max_tokens)]


def _paths(traces: Sequence[Any], folder: Path) -> Iterator[Path]:
    for index, trace in enumerate(traces):
        if isinstance(trace, Trace):
            path = folder / f"trace{index}.parquet"
            trace.save(path)
            yield path
        else:
            yield Path(trace)
