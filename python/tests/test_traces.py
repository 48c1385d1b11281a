"""Traces against their definition, files and data frames."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import QUESTION

import lac

PROMPTS = [QUESTION, "Hello", "Tell me about Kodo."]


def check_definition(trace: lac.Trace) -> None:
    """Holds a trace against the method's formulas, written once more in numpy."""
    before = np.concatenate([trace.embedding_norms[:, None], trace.norms[:, :-1]], axis=1)
    # A delta is the difference of two norms that were rounded to f32.
    assert np.allclose(trace.deltas, trace.norms - before, atol=1e-5 * float(trace.norms.max()))
    ranges = np.zeros_like(trace.deltas)
    for layer in range(2, trace.n_layers):
        earlier = trace.deltas[:, :layer]
        ranges[:, layer] = earlier.max(axis=1) - earlier.min(axis=1)
    assert np.allclose(trace.thresholds, np.float32(trace.info.alpha) * ranges, rtol=1e-6, atol=0)
    assert (trace.active == (trace.deltas >= trace.thresholds)).all()


def check_equal(left: lac.Trace, right: lac.Trace) -> None:
    """Compares everything that was measured, to the bit."""
    for name in ("sequences", "responses", "positions", "token_ids", "embedding_norms"):
        assert (getattr(left, name) == getattr(right, name)).all(), name
    for name in ("norms", "deltas", "thresholds", "active", "executed"):
        assert (getattr(left, name) == getattr(right, name)).all(), name
    assert list(left.tokens) == list(right.tokens)


def test_a_trace_follows_the_definition(model: lac.Model) -> None:
    trace = model.trace(QUESTION, alpha=0.4, max_new_tokens=20)
    check_definition(trace)
    check_definition(model.trace(QUESTION, max_new_tokens=0))
    assert trace.norms.shape == trace.active.shape == (len(trace), model.n_layers)
    assert trace.norms.dtype == np.float32 and trace.active.dtype == np.bool_
    assert trace.prompt.token_ids.tolist() == model.encode(QUESTION).tolist()
    (text,) = trace.generations
    # The last token was chosen, and not fed.
    assert trace.response.token_ids.tolist() == text.ids.tolist()[:-1]
    assert trace.positions.tolist() == list(range(len(trace)))
    assert trace.tokens == model.pieces(trace.token_ids)
    assert set(trace.phases) == {"prompt", "response"}
    assert np.allclose(trace.usage["prompt"], trace.prompt.active.mean(axis=0))
    assert trace.executed.all()
    assert "α 0.4" in repr(trace) and "12 layers" in repr(trace)


def test_batches_change_no_bit(model: lac.Model) -> None:
    alone = model.trace(PROMPTS, max_new_tokens=8, alpha=0.4)
    together = model.trace(PROMPTS, max_new_tokens=8, alpha=0.4, batch_size=3)
    assert alone.n_sequences == 3
    check_equal(alone, together)
    second = model.trace(PROMPTS[1], max_new_tokens=8, alpha=0.4)
    assert (alone.sequence(1).norms == second.norms).all()


def test_another_alpha_follows_from_the_deltas(model: lac.Model) -> None:
    trace = model.trace(QUESTION, max_new_tokens=10, alpha=0.8)
    for alpha in (0.0, 0.4, 1.5):
        check_equal(trace.at_alpha(alpha), model.trace(QUESTION, max_new_tokens=10, alpha=alpha))
    with pytest.raises(lac.LacError, match="depend on alpha"):
        model.trace(QUESTION, policy="bypass", alpha=0.4).at_alpha(0.2)


def test_files_hold_what_memory_holds(model: lac.Model, tmp_path: Path) -> None:
    for policy in ("trace", "halt"):
        trace = model.trace(PROMPTS, max_new_tokens=8, policy=policy, alpha=0.4)
        path = tmp_path / f"{policy}.parquet"
        trace.save(path)
        read = lac.read_trace(path)
        check_equal(read, trace)
        assert read.info.model == "demo" and read.info.policy == policy
        assert read.info.alpha == np.float32(0.4)
        direct = model.trace(
            PROMPTS, max_new_tokens=8, policy=policy, alpha=0.4, out=tmp_path / "direct.parquet", batch_size=2
        )
        assert len(direct) == len(trace) and direct.info.notes["model weights"]
        check_equal(direct.read(), trace)
        assert direct.statistics() == lac.open_trace(direct).statistics()
        direct.path.unlink()


def test_measures_follow_from_hidden_states(model: lac.Model) -> None:
    trace = model.trace(QUESTION, max_new_tokens=0, measures="sublayers")
    assert len(trace.measures) == 7
    states = model.hidden_states(QUESTION).astype(np.float64)
    before, after = states[:-1], states[1:]
    lengths = np.linalg.norm(before, axis=-1), np.linalg.norm(after, axis=-1)
    cosine = (before * after).sum(axis=-1) / lengths[0] / lengths[1]
    assert np.allclose(trace.measures["cosine"], cosine.T, atol=1e-5)
    contribution = np.linalg.norm(after - before, axis=-1) / lengths[0]
    assert np.allclose(trace.measures["contribution"], contribution.T, rtol=1e-4)
    plain = model.trace(QUESTION, max_new_tokens=0)
    assert not plain.measures and (plain.norms == trace.norms).all()
    assert set(model.trace("Hi", max_new_tokens=0, measures="layers").measures) == {"cosine", "contribution"}


def test_a_lens_ends_at_the_logits(model: lac.Model) -> None:
    lens = model.lens(QUESTION, top=3)
    logits = model.logits(QUESTION).astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    assert lens.ids.shape == (len(logits), model.n_layers, 3)
    assert (lens.ids[:, -1, 0] == logits.argmax(axis=-1)).all()
    best = np.take_along_axis(log_probabilities, lens.ids[:, -1].astype(int), axis=-1)
    assert np.allclose(lens.logprobs[:, -1], best, atol=1e-4)
    entropy = -(np.exp(log_probabilities) * log_probabilities).sum(axis=-1)
    assert np.allclose(lens.entropy[:, -1], entropy, atol=1e-3)
    assert np.allclose(lens.kl[:, -1], 0, atol=1e-4) and (lens.kl > -1e-4).all()
    assert lens.tokens.shape == lens.ids.shape
    for token, layer in enumerate(lens.decided_at):
        top = lens.ids[token, :, 0]
        assert (top[layer:] == top[-1]).all() and (layer == 0 or top[layer - 1] != top[-1])


def test_files_hold_measures_and_lenses(model: lac.Model, tmp_path: Path) -> None:
    trace = model.trace(PROMPTS, max_new_tokens=5, alpha=0.4, measures="layers", lens=2)
    trace.save(tmp_path / "saved.parquet")
    settings = {"max_new_tokens": 5, "alpha": 0.4, "measures": "layers", "lens": 2}
    direct = model.trace(PROMPTS, out=tmp_path / "direct.parquet", **settings).read()
    for read in (lac.read_trace(tmp_path / "saved.parquet"), direct):
        check_equal(read, trace)
        assert read.lens is not None and trace.lens is not None
        for name in ("ids", "logprobs", "entropy", "kl"):
            assert (getattr(read.lens, name) == getattr(trace.lens, name)).all()
        for name, values in trace.measures.items():
            assert (read.measures[name] == values).all()
    assert "lens_kl" in trace.to_pandas().columns and "cosine" in trace.to_pandas().columns


#: A small model with experts, and without a tokenizer.
EXPERTS = Path(__file__).parents[2] / "crates/lac-models/tests/fixtures/families/mixtral"


@pytest.mark.skipif(not EXPERTS.exists(), reason="the fixtures lie in the repository")
def test_experts_are_recorded(tmp_path: Path) -> None:
    with lac.load(EXPERTS, progress=False) as model:
        trace = model.trace([1, 2, 3, 4], max_new_tokens=3)
        assert trace.experts is not None and trace.expert_weights is not None
        assert trace.experts.shape[:2] == trace.norms.shape
        assert np.allclose(trace.expert_weights.sum(axis=-1), 1, atol=1e-5)
        trace.save(tmp_path / "t.parquet")
        read = lac.read_trace(tmp_path / "t.parquet")
        assert (read.experts == trace.experts).all()
        with pytest.raises(lac.LacError, match="no tokenizer.json"):
            model.generate("a text")


def test_pandas_polars_and_arrow_take_traces(model: lac.Model) -> None:
    pl = pytest.importorskip("polars")
    pa = pytest.importorskip("pyarrow")
    trace = model.trace(QUESTION, max_new_tokens=6, alpha=0.4)
    frame = trace.to_pandas()
    assert len(frame) == len(trace) * trace.n_layers
    usage = frame[frame.phase == "response"].groupby("layer")["active"].mean()
    assert np.allclose(usage, trace.usage["response"])
    polars = pl.DataFrame(trace)
    assert polars["norm"].to_numpy().tolist() == trace.norms.reshape(-1).tolist()
    assert polars["token"].to_list()[:: trace.n_layers] == list(trace.tokens)
    assert trace.to_polars().equals(polars)
    table = pa.table(trace)
    assert table.column_names == list(frame.columns)
    assert table["active"].to_pylist() == trace.active.reshape(-1).tolist()
    assert table["phase"].to_pylist() == frame["phase"].tolist()


def test_results_are_pickled(model: lac.Model) -> None:
    trace = model.trace(QUESTION, max_new_tokens=6, alpha=0.4)
    copy = pickle.loads(pickle.dumps(trace))
    check_equal(copy, trace)
    assert copy.generations[0].text == trace.generations[0].text
    plan = model.plan([QUESTION], max_new_tokens=4)
    assert pickle.loads(pickle.dumps(plan)) == plan
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(model)


def test_pictures_show_tokens_as_they_are(model: lac.Model) -> None:
    trace = model.trace("<b>&amp;</b>", raw=True, max_new_tokens=2, alpha=0.4)
    picture = trace._repr_html_()
    assert "<svg" in picture and "<script" not in picture and "http://www.w3.org/2000/svg" in picture
    assert "<b>" not in picture and "&lt;" in picture
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    for values in ("active", "norms", "deltas"):
        axes = trace.plot(values=values)
        assert axes.get_xlabel() == "layer"
        axes.figure.canvas.draw()
        plt.close(axes.figure)
    with pytest.raises(lac.LacError, match="values is 'nothing'"):
        trace.plot(values="nothing")


def test_a_report_is_a_folder_of_files(model: lac.Model, tmp_path: Path) -> None:
    traces = [model.trace(QUESTION, max_new_tokens=4, alpha=alpha) for alpha in (0.4, 0.8)]
    files = lac.report(traces, tmp_path / "report")
    names = {path.name for path in files}
    assert {"report.html", "statistics.json"} <= names and all(path.exists() for path in files)
    statistics = traces[0].statistics()
    assert statistics["info"]["model"] == "demo"


def test_an_interrupted_file_is_said(model: lac.Model, tmp_path: Path) -> None:
    class Fails(lac.Policy):
        alpha = 0.4
        n_passes = 0

        def begin(self, phase: str, tokens: np.ndarray) -> None:
            self.n_passes += 1
            if self.n_passes > 12:
                raise RuntimeError("enough")

    out = tmp_path / "t.parquet"
    with pytest.raises(RuntimeError, match="enough"):
        model.trace(PROMPTS, max_new_tokens=8, policy=Fails(), out=out)
    assert not out.exists()
