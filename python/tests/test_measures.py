"""Perplexity and benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lac

TEXT = "Kodo lives in a house by the river. Every morning Kodo walks to the market. " * 12


def test_perplexity_is_that_of_the_logits(model: lac.Model) -> None:
    result = model.perplexity(TEXT, context=32, windows=3)
    assert (result.windows, result.scored, result.full_perplexity) == (3, 3 * 15, None)
    ids = model.tokenize(TEXT)
    first = model.tokenize("")
    total = 0.0
    for window in range(3):
        part = ids[window * 32 : (window + 1) * 32].copy()
        if len(first) and ids[0] == first[0]:
            part[0] = first[0]
        logits = model.logits(part).astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        scores = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        total -= scores[np.arange(16, 31), part[17:]].sum()
    assert float(result) == pytest.approx(np.exp(total / 45), rel=1e-4)


def test_a_policy_is_held_against_the_full_model(model: lac.Model) -> None:
    same = model.perplexity(TEXT, context=32, windows=2, policy="trace")
    assert same.full_perplexity == same.perplexity and same.top1_agreement == 1.0
    skipped = model.perplexity(TEXT, context=32, windows=2, policy="bypass", alpha=0.8)
    assert skipped.kl is not None and skipped.kl > 0
    assert skipped.full_perplexity == same.perplexity
    assert skipped.active.prompt is not None and skipped.executed.prompt == 12.0


def test_a_benchmark_gives_a_data_frame_and_goes_on(model: lac.Model, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    out = tmp_path / "boolq.jsonl"
    settings = {"policy": "last-active", "alpha": [0.4, 0.8], "with_full": True, "limit": 12, "out": out}
    frame = lac.evaluate(model, "boolq", **settings)
    assert frame["policy"].tolist() == ["off", "last-active", "last-active"]
    assert frame["n"].tolist() == [12, 12, 12]
    assert frame["accuracy"].between(0, 100).all()
    before = out.read_bytes()
    again = lac.evaluate(model, "boolq", **settings)
    assert out.read_bytes() == before and again["accuracy"].tolist() == frame["accuracy"].tolist()
    questions = lac.read_results(out, per="question")
    assert len(questions) == 36
    right = questions.groupby("variant")["right"].mean() * 100
    assert right["off"] == pytest.approx(frame["accuracy"][0])
    with pytest.raises(lac.LacError, match="alpha"):
        lac.evaluate(model, "boolq", policy="last-active", alpha=0.1, limit=12, out=out)


def test_a_policy_of_ones_own_is_evaluated(model: lac.Model) -> None:
    pytest.importorskip("pandas")

    class Nothing(lac.Policy):
        alpha = 0.4

    frame = lac.evaluate(model, "mmlu", policy=["trace", Nothing()], alpha=0.4, limit=2)
    assert frame["policy"].tolist() == ["trace", "Nothing"]
    assert frame["accuracy"][0] == frame["accuracy"][1]
    assert frame["usage_prompt"][0] == pytest.approx(frame["usage_prompt"][1])
