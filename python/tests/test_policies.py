"""Policies by name, as objects, with a plan, and written in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import QUESTION
from test_traces import check_equal

import lac


class PythonBypass(lac.Policy):
    """The built-in bypass once more."""

    alpha = 0.4

    def after(self, layer: int, phase: str, readings: lac.Readings) -> np.ndarray:
        return readings.active[-1]


class PythonTrace(lac.Policy):
    """Looks at everything and changes nothing."""

    alpha = 0.4

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.passes: list[tuple[str, list[list[int]]]] = []

    def begin(self, phase: str, tokens: np.ndarray) -> None:
        self.passes.append((phase, tokens.tolist()))

    def before(self, layer: int, phase: str, readings: lac.Readings) -> str | None:
        assert readings.layers == list(range(layer)) and readings.layer == layer
        assert readings.norms.shape[0] == readings.deltas.shape[0] == layer
        assert readings.output is None
        return None

    def after(self, layer: int, phase: str, readings: lac.Readings) -> None:
        assert readings.output is not None and readings.output.shape == readings.input.shape
        norms = np.linalg.norm(readings.output.astype(np.float64), axis=-1)
        assert np.allclose(norms, readings.norms[-1], rtol=1e-5)
        assert (readings.active == (readings.deltas >= readings.thresholds)).all()
        self.seen.append((phase, layer))


def test_names_and_objects_are_the_same(model: lac.Model) -> None:
    for name, policy in (
        ("trace", lac.TracePolicy(alpha=0.4)),
        ("last-active", lac.LastActive(alpha=0.4)),
        ("bypass", lac.Bypass(alpha=0.4)),
        ("halt", lac.Halt(alpha=0.4)),
    ):
        by_name = model.trace(QUESTION, policy=name, alpha=0.4, max_new_tokens=6)
        check_equal(by_name, model.trace(QUESTION, policy=policy, max_new_tokens=6))
        assert by_name.info.policy == name
    assert model.generate(QUESTION, policy=lac.Off(), max_new_tokens=6).policy == "off"
    assert lac.Bypass() == lac.Bypass(alpha=0.8)


def test_a_policy_in_python_is_the_built_in_one(model: lac.Model) -> None:
    built_in = model.trace(QUESTION, policy="bypass", alpha=0.4, max_new_tokens=6)
    own = model.trace(QUESTION, policy=PythonBypass(), max_new_tokens=6)
    check_equal(own, built_in)
    assert own.info.policy == "PythonBypass"
    looks = PythonTrace()
    check_equal(
        model.trace(QUESTION, policy=looks, max_new_tokens=3),
        model.trace(QUESTION, alpha=0.4, max_new_tokens=3),
    )
    n_layers = model.n_layers
    assert looks.seen[: n_layers + 1] == [*(("prompt", layer) for layer in range(n_layers)), ("response", 0)]
    assert looks.passes[0] == ("prompt", [model.encode(QUESTION).tolist()])
    assert [phase for phase, _ in looks.passes] == ["prompt", "response", "response"]


def test_a_policy_in_python_skips_and_replaces(model: lac.Model) -> None:
    class Skips(lac.Policy):
        def before(self, layer: int, phase: str, readings: lac.Readings) -> str | None:
            return {3: "skip", 5: "skip-attention", 7: "skip-mlp"}.get(layer) if phase == "response" else None

    trace = model.trace(QUESTION, policy=Skips(), max_new_tokens=4)
    assert trace.prompt.executed.all()
    assert np.flatnonzero(~trace.response.executed[0]).tolist() == [3]
    out = model.generate(QUESTION, policy=Skips(), max_new_tokens=4)
    assert out.executed == (12.0, 10.0)

    class Steers(lac.Policy):
        alpha = None

        def __init__(self, factor: float) -> None:
            self.factor = factor

        def after(self, layer: int, phase: str, readings: lac.Readings) -> np.ndarray:
            assert readings.layers == [] and readings.output is not None
            return readings.output * self.factor

    same = model.logits(QUESTION, policy=Steers(1.0))
    assert (same == model.logits(QUESTION)).all()
    assert not np.allclose(model.logits(QUESTION, policy=Steers(1.1)), same)

    class Keeps(lac.Policy):
        def after(self, layer: int, phase: str, readings: lac.Readings) -> str:
            return "input"

    nothing = model.trace(QUESTION, policy=Keeps(), max_new_tokens=0)
    states = model.hidden_states(QUESTION, states=[0])
    assert nothing.norms.shape[1] == 12 and states.shape[0] == 1


@pytest.mark.parametrize(
    ("hook", "result", "error", "words"),
    [
        ("before", "jump", TypeError, "before returned 'jump', expected None"),
        ("before", 3, TypeError, "before returned 3"),
        ("after", "back", TypeError, "after returned 'back'"),
        ("after", np.zeros(3, bool), ValueError, "shape"),
        ("after", np.zeros((1, 2, 3)), ValueError, "shape"),
        ("after", object(), TypeError, "after returned"),
    ],
)
def test_what_a_hook_returns_is_checked(
    model: lac.Model, hook: str, result: object, error: type[Exception], words: str
) -> None:
    policy = type("Wrong", (lac.Policy,), {hook: lambda self, *_: result})()
    with pytest.raises(error, match=words):
        model.generate(QUESTION, policy=policy, max_new_tokens=2)


def test_an_exception_of_a_hook_comes_through(model: lac.Model) -> None:
    class Breaks(lac.Policy):
        def after(self, layer: int, phase: str, readings: lac.Readings) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        model.trace(QUESTION, policy=Breaks())
    with pytest.raises(KeyError, match="mine"):
        list(model.stream(QUESTION, policy=Breaks()))
    assert model.generate(QUESTION, max_new_tokens=3).text


def test_plans_are_learned_saved_and_followed(model: lac.Model, tmp_path: Path) -> None:
    plan = model.plan([QUESTION, "Hello"], max_new_tokens=8, alpha=0.4, keep_layers=9, phase="response")
    assert (plan.executed("prompt"), plan.executed("response")) == (12, 9)
    path = tmp_path / "plan.json"
    plan.save(path)
    assert lac.read_plan(path) == plan and "9 of 12" in repr(plan)
    out = model.generate(QUESTION, policy="planned", plan=plan, max_new_tokens=8)
    assert out.executed == (12.0, 9.0)
    assert model.generate(QUESTION, policy=lac.Planned(path), max_new_tokens=8).text == out.text
    halves = model.plan(QUESTION, max_new_tokens=8, keep_share=0.5, sublayers=True, by="mean-delta")
    assert halves.executed() == 6
    for by in ("influence", "lens", "random", "last"):
        ranked = model.plan([QUESTION], by=by, max_new_tokens=4, keep_layers=8)
        assert ranked.executed() == 8
    assert ranked.skipped()["skip"] == [8, 9, 10, 11]
    whole = model.plan(QUESTION, keep_layers=12, max_new_tokens=4)
    full = model.generate(QUESTION, max_new_tokens=8)
    assert model.generate(QUESTION, policy="planned", plan=whole, max_new_tokens=8).text == full.text
