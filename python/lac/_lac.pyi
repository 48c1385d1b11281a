"""The compiled half."""

from pathlib import Path
from typing import Any, Callable, final

import numpy as np
import numpy.typing as npt

_Ids = npt.NDArray[np.uint32]
_Notices = list[tuple[bool, str]]
_Report = Callable[[int, int], None] | None

__all__ = [
    "LacError",
    "Model",
    "Readings",
    "TextStream",
    "__version__",
    "arrow_stream",
    "devices",
    "encode_pair",
    "evaluate",
    "generate",
    "hidden_states",
    "logits",
    "loglikelihoods",
    "perplexity",
    "plan",
    "read_results",
    "read_trace",
    "report",
    "set_threads",
    "statistics",
    "stream",
    "trace",
    "trace_info",
    "trace_to_file",
    "write_trace",
]

__version__: str

class LacError(Exception):
    """What went wrong, in the words of the `lac` command."""

@final
class Readings:
    """What a hook of a policy may look at. An array is brought to the host when it is asked for."""

    @property
    def layer(self) -> int:
        """Index of the layer, from 0."""
    @property
    def layers(self) -> list[int]:
        """The layers that were run so far, those of the first axis of the arrays below."""
    @property
    def norms(self) -> npt.NDArray[np.float32]:
        """Norms after these layers, `[layer, row, token]`."""
    @property
    def deltas(self) -> npt.NDArray[np.float32]:
        """What these layers changed of the norm, `[layer, row, token]`."""
    @property
    def thresholds(self) -> npt.NDArray[np.float32]:
        """The thresholds that the deltas were held against, `[layer, row, token]`."""
    @property
    def active(self) -> npt.NDArray[np.bool_]:
        """Whether these layers were active, `[layer, row, token]`."""
    @property
    def input(self) -> npt.NDArray[np.float32]:
        """The state that goes into the layer, `[row, token, hidden]`."""
    @property
    def output(self) -> npt.NDArray[np.float32] | None:
        """The state that has come out of the layer, `[row, token, hidden]`; None before the layer is run."""

@final
class Model:
    @staticmethod
    def load(args: dict[str, Any], progress: _Report) -> tuple[Model, _Notices]: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def max_context(self) -> int: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def has_tokenizer(self) -> bool: ...
    @property
    def has_chat_template(self) -> bool: ...
    @property
    def special_ids(self) -> tuple[int | None, int | None, int | None]: ...
    @property
    def stop_ids(self) -> list[int]: ...
    def fingerprint(self) -> str: ...
    def tokenize(self, text: str, special: str) -> _Ids: ...
    def prompt(self, text: str, raw: bool) -> tuple[str, _Ids]: ...
    def chat(
        self, json: str, *, add_generation_prompt: bool, template: str | None, now: str | None
    ) -> tuple[str, _Ids]: ...
    def decode(self, ids: _Ids, skip_special_tokens: bool) -> str: ...
    def pieces(self, ids: _Ids) -> list[str | None]: ...

@final
class TextStream:
    def __iter__(self) -> TextStream: ...
    def __next__(self) -> str: ...
    def close(self) -> None: ...
    @property
    def result(self) -> dict[str, Any] | None: ...
    @property
    def notices(self) -> _Notices: ...

def set_threads(n_threads: int) -> bool: ...
def devices() -> list[tuple[str, list[str] | None]]: ...
def generate(
    model: Model,
    prompts: list[_Ids],
    policy: dict[str, Any],
    settings: dict[str, Any],
    progress: _Report,
) -> tuple[list[dict[str, Any]], _Notices]: ...
def stream(model: Model, prompt: _Ids, policy: dict[str, Any], settings: dict[str, Any]) -> TextStream: ...
def trace(
    model: Model,
    prompts: list[_Ids],
    policy: dict[str, Any],
    settings: dict[str, Any],
    progress: _Report,
) -> tuple[dict[str, Any], str, list[dict[str, Any]], _Notices]: ...
def trace_to_file(
    model: Model,
    prompts: list[_Ids],
    policy: dict[str, Any],
    settings: dict[str, Any],
    path: Path,
    progress: _Report,
) -> tuple[int, _Notices]: ...
def hidden_states(model: Model, ids: _Ids, states: list[int] | None) -> npt.NDArray[np.float32]: ...
def logits(model: Model, ids: _Ids, last_only: bool, policy: dict[str, Any]) -> npt.NDArray[np.float32]: ...
def encode_pair(model: Model, context: str, continuation: str) -> tuple[_Ids, _Ids]: ...
def loglikelihoods(
    model: Model,
    pairs: list[tuple[_Ids, _Ids]],
    policy: dict[str, Any],
    batch_size: int,
    progress: _Report,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]: ...
def perplexity(
    model: Model, ids: _Ids, policy: dict[str, Any], args: dict[str, Any], progress: _Report
) -> dict[str, Any]: ...
def plan(model: Model, prompts: list[_Ids], args: dict[str, Any], progress: _Report) -> str: ...
def evaluate(
    model: Model, policies: list[dict[str, Any]], args: dict[str, Any], progress: _Report
) -> tuple[str, _Notices]: ...
def read_results(path: Path) -> str: ...
def read_trace(path: Path) -> tuple[dict[str, Any], str, bool]: ...
def trace_info(path: Path) -> tuple[str, int, bool]: ...
def write_trace(path: Path, columns: dict[str, Any], info: str, pieces: dict[int, str]) -> int: ...
def statistics(path: Path) -> str: ...
def report(paths: list[Path], folder: Path, max_tokens: int) -> list[Path]: ...
def arrow_stream(columns: dict[str, Any]) -> object: ...
