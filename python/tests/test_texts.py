"""Texts, tokens and what is written."""

from __future__ import annotations

import numpy as np
from conftest import QUESTION

import lac


def test_a_model_says_what_it_is(model: lac.Model) -> None:
    assert (model.name, model.n_layers, model.device) == ("demo", 12, "cpu")
    assert model.vocab_size > 1000 and model.hidden_size > 8 and model.max_context >= 256
    assert repr(model).startswith("<lac.Model demo: ") and "12 layers" in repr(model)
    assert model.special_ids["eos"] in model.stop_ids


def test_texts_become_tokens_and_come_back(model: lac.Model) -> None:
    ids = model.tokenize("Kodo lives in a house.", special="never")
    assert ids.dtype == np.uint32
    assert model.decode(ids) == "Kodo lives in a house."
    assert model.decode(list(ids)) == model.decode(np.asarray(ids, np.int64))
    assert len(model.pieces(ids)) == len(ids)


def test_prompts_go_through_the_chat_template(model: lac.Model) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    text = model.apply_chat_template(messages)
    assert QUESTION in text and text != QUESTION
    rendered = model.apply_chat_template(messages, tokenize=True)
    assert model.encode(QUESTION).tolist() == rendered.tolist() == model.encode(messages).tolist()
    assert model.encode({"messages": messages}).tolist() == rendered.tolist()
    assert model.encode(QUESTION, raw=True).tolist() == model.tokenize(QUESTION).tolist()
    shorter = model.apply_chat_template(messages, add_generation_prompt=False)
    assert text.startswith(shorter) and len(shorter) < len(text)


def test_every_form_of_a_prompt_gives_one_text(model: lac.Model) -> None:
    out = model.generate(QUESTION, max_new_tokens=12)
    assert str(out) == out.text and out.text
    assert out.prompt_ids.tolist() == model.encode(QUESTION).tolist()
    assert model.decode(out.ids) == out.text
    for prompt in (
        [{"role": "user", "content": QUESTION}],
        model.encode(QUESTION),
        model.encode(QUESTION).tolist(),
    ):
        assert model.generate(prompt, max_new_tokens=12).text == out.text
    many = model.generate([QUESTION, "Hello"], max_new_tokens=12)
    assert [one.text for one in many] == [out.text, model.generate("Hello", max_new_tokens=12).text]
    together = model.generate([QUESTION, "Hello"], max_new_tokens=12, batch_size=2)
    assert [one.text for one in together] == [one.text for one in many]


def test_a_generation_says_what_ended_it_and_what_it_took(model: lac.Model) -> None:
    out = model.generate(QUESTION, max_new_tokens=3, policy="last-active", alpha=0.4)
    assert (out.stop_reason, len(out.ids), out.policy) == ("max_new_tokens", 3, "last-active")
    assert out.executed == (12.0, 12.0)
    assert out.active.prompt is not None and 0 < out.active.prompt < 1
    assert model.generate(QUESTION, max_new_tokens=3).active == (None, None)
    whole = model.generate(QUESTION, max_new_tokens=60)
    assert whole.stop_reason == "stop_token" and int(whole.ids[-1]) in model.stop_ids
    assert whole.tokens_per_second is not None and whole.tokens_per_second > 0
    word = whole.text.split()[2]
    cut = model.generate(QUESTION, max_new_tokens=60, stop=word)
    assert cut.stop_reason == "stop_string" and cut.text == whole.text[: whole.text.index(word)]


def test_draws_follow_their_seed(model: lac.Model) -> None:
    def draw(seed: int) -> list[int]:
        return model.generate(QUESTION, max_new_tokens=20, temperature=8.0, seed=seed).ids.tolist()

    assert draw(1) == draw(1)
    assert len({tuple(draw(seed)) for seed in range(4)}) > 1


def test_a_stream_gives_the_text_piece_by_piece(model: lac.Model) -> None:
    whole = model.generate(QUESTION, max_new_tokens=40)
    stream = model.stream(QUESTION, max_new_tokens=40)
    assert stream.result is None
    pieces = list(stream)
    assert len(pieces) > 2 and "".join(pieces) == whole.text
    assert stream.result is not None and stream.result.text == whole.text
    assert list(stream) == []
    with model.stream(QUESTION, max_new_tokens=40) as stopped:
        next(stopped)
    assert stopped.result is None and list(stopped) == []
