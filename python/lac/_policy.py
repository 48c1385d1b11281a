"""What is done about voids: policies by name, as objects, and your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from ._lac import Readings
from ._plan import Plan, as_plan

if TYPE_CHECKING:
    import os

#: α of the paper's runs.
DEFAULT_ALPHA = 0.8


@dataclass(frozen=True)
class _BuiltIn:
    """A policy that lac has."""

    name = ""


@dataclass(frozen=True)
class Off(_BuiltIn):
    """The full model; nothing is measured."""

    name = "off"


@dataclass(frozen=True)
class _Gated(_BuiltIn):
    """A policy with a gate.

    `alpha` is the share of the range of earlier deltas that a layer's delta has to reach.
    """

    alpha: float = DEFAULT_ALPHA
    gate_rounding: str = "f32"


@dataclass(frozen=True)
class Trace(_Gated):
    """The full model; the gate observes."""

    name = "trace"


@dataclass(frozen=True)
class LastActive(_Gated):
    """The last active layer's output goes to the head, as in the paper's released code. Saves no time."""

    name = "last-active"


@dataclass(frozen=True)
class Bypass(_Gated):
    """A void layer's input goes on in place of its output. Saves no time."""

    name = "bypass"


@dataclass(frozen=True)
class Halt(_Gated):
    """Once no token of a sequence moves, its remaining layers are not run."""

    name = "halt"


@dataclass(frozen=True)
class Planned(_BuiltIn):
    """The layers that a plan names are not run."""

    plan: Plan | str | os.PathLike[str]

    name = "planned"


class Policy:
    """A policy of your own, for research: derive from it, and override some of the hooks.

    ```python
    class SkipLate(lac.Policy):
        \"\"\"Leaves out a layer for the response's tokens once three voids came before it.\"\"\"

        alpha = 0.4

        def before(self, layer, phase, readings):
            if phase == "response" and layer > 3 and not readings.active[-3:].any():
                return "skip"
    ```

    **What it costs.** Every hook takes Python's lock, twice for every layer of every pass, and waits for the device for
    what it looks at. With a gate, layers are gated one by one, where built-in policies have a token's layers gated
    in one go. A hidden state (`readings.input`, `readings.output`) is copied whole. On a large model that is little, on
    a small one more than the layers themselves; the notebook "Your own policy" measures it. Threads that generate
    under such policies take turns in their hooks.
    """

    #: Stands in traces and results.
    name: str = ""

    #: α of the gate; None measures nothing, and leaves the readings empty.
    alpha: float | None = DEFAULT_ALPHA

    #: How the gate's numbers are rounded: `f32`, or `bf16` as in the paper's released code.
    gate_rounding: str = "f32"

    #: What happens to the keys and values of layers whose attention is not run: `fill` or `leave-out`.
    skipped_keys: str = "fill"

    #: Whether what happens to a token follows from it and the tokens before it alone. Only then may texts be scored in
    #: pieces, which is faster; if it is True and wrong, results depend on how texts are fed.
    per_token: bool = False

    def begin(self, phase: str, tokens: npt.NDArray[np.int64]) -> None:
        """Opens a pass: forget here what belongs to the last one.

        `phase` is `prompt` or `response`, `tokens` are the ids that are fed, `[row, token]`, −1 for padding.
        """

    def before(self, layer: int, phase: str, readings: Readings) -> str | None:
        """Decides whether a layer is run, before it is.

        `readings` has what the gate saw of the layers so far, and the state that goes in. Return None or `run`, `skip`,
        `skip-attention` or `skip-mlp`. It is decided for all rows and tokens of the pass.
        """
        return None

    def after(
        self, layer: int, phase: str, readings: Readings
    ) -> str | npt.NDArray[np.bool_] | npt.NDArray[Any] | None:
        """Decides which state the next layer receives, after a layer that was run.

        Return None or `output` for the layer's output, `input` for what went in, a bool array `[row, token]` for the
        output where it is True and the input elsewhere, or another state, `[row, token, hidden]`.
        """
        return None


#: A policy by its name, or as an object.
AnyPolicy = Union[str, _BuiltIn, Policy]


def policy_args(
    policy: AnyPolicy,
    alpha: float | None = None,
    plan: Plan | str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Returns what the compiled half needs to know of a policy."""
    args: dict[str, Any] = {
        "name": "",
        "alpha": None,
        "rounding": "f32",
        "plan": None,
        "hooks": None,
    }
    if isinstance(policy, str):
        args["name"] = policy.replace("_", "-")
        args["alpha"] = DEFAULT_ALPHA if alpha is None else float(alpha)
        args["plan"] = None if plan is None else as_plan(plan).to_json()
        return args
    if alpha is not None or plan is not None:
        raise TypeError("alpha and plan belong to a policy's name: an object has its own")
    if isinstance(policy, Policy):
        args["name"] = policy.name or type(policy).__name__
        args["alpha"] = None if policy.alpha is None else float(policy.alpha)
        args["rounding"] = policy.gate_rounding
        args["hooks"] = policy
    elif isinstance(policy, Planned):
        args["name"] = policy.name
        args["plan"] = as_plan(policy.plan).to_json()
    elif isinstance(policy, _Gated):
        args["name"] = policy.name
        args["alpha"] = float(policy.alpha)
        args["rounding"] = policy.gate_rounding
    elif isinstance(policy, _BuiltIn):
        args["name"] = policy.name
    else:
        raise TypeError(f"a policy is {type(policy).__name__}, expected a name or a lac.Policy")
    return args
