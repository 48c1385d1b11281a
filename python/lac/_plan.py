"""Plans: the layers that are not run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from ._errors import LacError

PathLike = Union[str, "os.PathLike[str]"]


class Plan:
    """Which layers, or attentions and MLPs, are not run in each phase.

    `lac plan` and `Model.plan` make plans; `policy="planned", plan=…` follows one. It serves the model that it was
    learned on, and no other.
    """

    def __init__(self, fields: Mapping[str, Any]):
        self._json = json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Reads a plan of its JSON."""
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise LacError(f"the text is not a plan: {error}") from error
        if not isinstance(fields, dict) or "response" not in fields:
            raise LacError("the text is not a plan: it has no field `response`")
        return cls(fields)

    def to_json(self) -> str:
        """Returns the plan as JSON, as `lac plan` writes it."""
        return self._json

    def to_dict(self) -> dict[str, Any]:
        """Returns the plan's fields."""
        fields: dict[str, Any] = json.loads(self._json)
        return fields

    def save(self, path: PathLike) -> None:
        """Writes the plan to a file, for this package and for the `lac` command."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    def skipped(self, phase: str = "response") -> dict[str, list[int]]:
        """Returns the layers that are skipped in a phase: whole, or their attention or MLP alone."""
        fields = self.to_dict()
        if phase not in ("prompt", "response"):
            raise LacError(f"phase is {phase!r}, expected prompt or response")
        lists = ("skip", "skip_attention", "skip_mlp")
        return {name: list(fields[phase].get(name, [])) for name in lists}

    def executed(self, phase: str = "response") -> float:
        """Returns the number of layers that are run in a phase; attention and MLP count as halves."""
        skipped = self.skipped(phase)
        n_layers: int = self.to_dict()["model"]["n_layers"]
        halves = len(skipped["skip_attention"]) + len(skipped["skip_mlp"])
        return n_layers - len(skipped["skip"]) - halves / 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self._json)

    def __repr__(self) -> str:
        n_layers = self.to_dict()["model"]["n_layers"]
        prompt, response = self.executed("prompt"), self.executed("response")
        return f"<lac.Plan: runs {prompt:g} and {response:g} of {n_layers} layers (prompt, response)>"


def read_plan(path: PathLike) -> Plan:
    """Reads the file of a plan."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LacError(f"cannot read {path}: {error}") from error
    try:
        return Plan.from_json(text)
    except LacError as error:
        raise LacError(f"{path}: {error}") from error


def as_plan(plan: Plan | PathLike) -> Plan:
    """Returns a plan, which may be named by its file."""
    return plan if isinstance(plan, Plan) else read_plan(plan)
