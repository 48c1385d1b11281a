"""Hidden states, logits and log-likelihoods, against each other and by hand."""

from __future__ import annotations

import numpy as np
from conftest import QUESTION

import lac


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def test_norms_of_hidden_states_are_the_traces(model: lac.Model) -> None:
    states = model.hidden_states(QUESTION)
    trace = model.trace(QUESTION, max_new_tokens=0)
    assert states.shape == (model.n_layers + 1, len(trace), model.hidden_size)
    norms = np.linalg.norm(states.astype(np.float64), axis=-1)
    # The gate sums in f32.
    assert np.allclose(norms[0], trace.embedding_norms, rtol=1e-5)
    assert np.allclose(norms[1:].T, trace.norms, rtol=1e-5)
    assert (model.hidden_states(QUESTION, states=[0, 12]) == states[[0, 12]]).all()


def test_logits_choose_the_greedy_token(model: lac.Model) -> None:
    logits = model.logits(QUESTION)
    assert logits.shape == (len(model.encode(QUESTION)), model.vocab_size)
    assert logits.dtype == np.float32
    assert (model.logits(QUESTION, last_only=True) == logits[-1:]).all()
    first = model.generate(QUESTION, max_new_tokens=1, greedy=True, ignore_generation_config=True)
    assert logits[-1].argmax() == first.ids[0]
    selected = model.logits(QUESTION, policy="last-active", alpha=0.4)
    assert selected.shape == logits.shape and not np.allclose(selected, logits)


def test_loglikelihoods_are_sums_of_log_probabilities(model: lac.Model) -> None:
    context, continuation = model.tokenize("Kodo lives in"), model.tokenize(" a house.", special="never")
    log_probabilities = log_softmax(model.logits(np.concatenate([context, continuation])))
    places = np.arange(len(context) - 1, len(context) + len(continuation) - 1)
    expected = log_probabilities[places, continuation].sum()
    greedy = (log_probabilities[places].argmax(axis=-1) == continuation).all()
    value, is_greedy = model.loglikelihood(context, continuation)
    assert abs(value - expected) < 1e-3 and is_greedy == greedy
    assert abs(model.loglikelihood("Kodo lives in", " a house.")[0] - value) < 1e-6


def test_lists_of_pairs_are_scored_in_their_order(model: lac.Model) -> None:
    pairs = [("Kodo lives in", " a house."), ("Kodo", " lives"), ("Kodo lives in", " a boat."), ("", "Kodo")]
    values, greedy = model.loglikelihood(pairs, batch_size=3)
    assert values.shape == greedy.shape == (4,)
    for pair, value, flag in zip(pairs, values, greedy):
        alone, is_greedy = model.loglikelihood(*pair)
        # Rows of a batch give the same bits; how options are cut into passes may differ.
        assert abs(alone - value) < 1e-4 and is_greedy == flag
    empty, _ = model.loglikelihood([])
    assert empty.shape == (0,)


def test_a_policy_scores_too(model: lac.Model) -> None:
    full = model.loglikelihood("Kodo lives in", " a house.")
    assert model.loglikelihood("Kodo lives in", " a house.", policy="trace") == full
    assert model.loglikelihood("Kodo lives in", " a house.", policy="bypass", alpha=0.8) != full
