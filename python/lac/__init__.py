"""Which layers of a language model work on which token.

lac finds the *voids* of a language model: the layers that, for a given token, leave the L2 norm of the residual
stream as it is. This package loads a model, traces and skips its layers, and measures what that costs:

>>> import lac
>>> model = lac.load("demo")
>>> trace = model.trace("Where does Kodo live?", alpha=0.4)
>>> trace.active.shape[1] == model.n_layers
True

Numbers are numpy arrays, `[token, layer]`. Everything that is computed is computed in Rust, without Python's lock.
"""

from ._errors import LacError, LacWarning
from ._evaluation import evaluate, read_results
from ._generation import Generation, TextStream
from ._lac import Readings, __version__
from ._model import Model, Perplexity, devices, load
from ._plan import Plan, read_plan
from ._policy import Bypass, Halt, LastActive, Off, Planned, Policy
from ._policy import Trace as TracePolicy
from ._trace import Info, Lens, Trace, TraceFile, open_trace, read_trace, report

__all__ = [
    "Bypass",
    "Generation",
    "Halt",
    "Info",
    "LacError",
    "LacWarning",
    "LastActive",
    "Lens",
    "Model",
    "Off",
    "Perplexity",
    "Plan",
    "Planned",
    "Policy",
    "Readings",
    "TextStream",
    "Trace",
    "TraceFile",
    "TracePolicy",
    "__version__",
    "devices",
    "evaluate",
    "load",
    "open_trace",
    "read_plan",
    "read_results",
    "read_trace",
    "report",
]
