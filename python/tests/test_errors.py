"""What is refused, and how: always an exception that says what would be right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from conftest import QUESTION

import lac

Use = Callable[[lac.Model], Any]

#: What is called, the exception, and a part of what it says.
REFUSED: list[tuple[Use, type[BaseException], str | None]] = [
    (lambda m: m.generate("", raw=True), lac.LacError, "the prompt is empty"),
    (lambda m: m.generate([], raw=True), lac.LacError, "the prompt is empty"),
    (lambda m: m.generate(b"bytes"), TypeError, "expected a text"),
    (lambda m: m.generate(3), TypeError, "a prompt is int"),
    (lambda m: m.generate(None), TypeError, "a prompt is NoneType"),
    (lambda m: m.generate([1.5, 2.0]), TypeError, "expected whole numbers"),
    (lambda m: m.generate([-1]), lac.LacError, "hold -1"),
    (lambda m: m.generate([2**40]), lac.LacError, str(2**40)),
    (lambda m: m.generate([10**9]), lac.LacError, "token id 1000000000"),
    (lambda m: m.generate(np.zeros((0,), np.int64)), lac.LacError, "the prompt is empty"),
    (lambda m: m.generate([1] * 100_000), lac.LacError, "the model's context holds"),
    (lambda m: m.generate(["ok", ""], raw=True), lac.LacError, "prompt 1: the prompt is empty"),
    (lambda m: m.generate([{"content": "no role"}]), lac.LacError, '"role" is missing'),
    (lambda m: m.generate([{"role": "user", "content": object()}]), lac.LacError, "JSON"),
    (lambda m: m.generate([{"role": "user", "content": "a"}], raw=True), lac.LacError, "raw takes texts"),
    (lambda m: m.generate(QUESTION, max_new_tokens=-1), OverflowError, None),
    (lambda m: m.generate(QUESTION, max_new_tokens=2**70), OverflowError, None),
    (lambda m: m.generate(QUESTION, max_new_tokens="many"), TypeError, None),
    (lambda m: m.generate(QUESTION, batch_size=0), lac.LacError, "batch_size is 0"),
    (lambda m: m.generate(QUESTION, temperature=0), lac.LacError, "temperature 0: expected a number above 0"),
    (lambda m: m.generate(QUESTION, temperature=float("nan")), lac.LacError, "temperature NaN"),
    (lambda m: m.generate(QUESTION, top_p=1.5), lac.LacError, "top_p 1.5: expected a number from 0 to 1"),
    (lambda m: m.generate(QUESTION, top_k=0), lac.LacError, "top_k 0"),
    (lambda m: m.generate(QUESTION, greedy=True, top_k=3), lac.LacError, "greedy .* excludes top_k"),
    (lambda m: m.generate(QUESTION, beams=3), TypeError, "beams"),
    (lambda m: m.generate(QUESTION, policy="fastest"), lac.LacError, 'unknown policy "fastest"'),
    (lambda m: m.generate(QUESTION, policy=3), TypeError, "a policy is int"),
    (lambda m: m.generate(QUESTION, policy="planned"), lac.LacError, "needs a plan"),
    (lambda m: m.generate(QUESTION, policy=lac.Bypass(), alpha=0.4), TypeError, "an object has its own"),
    (lambda m: m.generate(QUESTION, policy="bypass", alpha=float("nan")), lac.LacError, "alpha"),
    (lambda m: m.generate(QUESTION, policy="bypass", alpha=-1.0), lac.LacError, "alpha"),
    (lambda m: m.generate(QUESTION, policy="bypass", alpha=float("inf")), lac.LacError, "alpha"),
    (lambda m: m.generate(QUESTION, policy=lac.Trace), TypeError, "a policy is type"),
    (lambda m: m.trace(QUESTION, policy="off"), lac.LacError, "off"),
    (lambda m: m.trace(QUESTION, out=f"{__file__}/t.parquet"), lac.LacError, "t.parquet"),
    (lambda m: m.trace(QUESTION, measures="all"), lac.LacError, "measures is"),
    (lambda m: m.trace(QUESTION, lens=0), lac.LacError, "lens"),
    (lambda m: m.trace(QUESTION, lens=2, lens_file=__file__), lac.LacError, "test_errors.py"),
    (lambda m: m.trace(QUESTION).sequence(3), lac.LacError, "no sequence 3"),
    (lambda m: m.hidden_states(QUESTION, states=[13]), lac.LacError, "there is no state 13"),
    (lambda m: m.hidden_states(QUESTION, states=[-1]), OverflowError, None),
    (lambda m: m.tokenize("a", special="twice"), lac.LacError, "expected once, never or always"),
    (lambda m: m.decode("abc"), lac.LacError, None),
    (lambda m: m.apply_chat_template("text"), lac.LacError, "message 0"),
    (lambda m: m.apply_chat_template([]), lac.LacError, "the conversation is empty"),
    (lambda m: m.apply_chat_template([{"role": "user", "content": "a"}], now="noon"), lac.LacError, "now is"),
    (lambda m: m.loglikelihood("a"), TypeError, "a list of such pairs"),
    (lambda m: m.loglikelihood("a", ""), lac.LacError, "adds no token"),
    (lambda m: m.loglikelihood("a", [1]), TypeError, "both texts, or both token ids"),
    (lambda m: m.loglikelihood([("a", " b"), ("a", "")]), lac.LacError, "pair 1: .*adds no token"),
    (lambda m: m.loglikelihood([1], [10**9]), lac.LacError, "token id 1000000000"),
    (lambda m: m.loglikelihood("a", " b", batch_size=0), lac.LacError, "batch_size is 0"),
    (lambda m: m.perplexity("short"), lac.LacError, "window"),
    (lambda m: m.perplexity("long enough " * 50, context=2), lac.LacError, "at least 4 tokens"),
    (lambda m: m.perplexity("long enough " * 50, context=8, phase="both"), lac.LacError, "phase"),
    (lambda m: m.perplexity(Path("/nowhere.txt")), lac.LacError, "cannot read /nowhere.txt"),
    (lambda m: m.plan([]), lac.LacError, "empty"),
    (lambda m: m.plan(QUESTION, keep_layers=99), lac.LacError, "99"),
    (lambda m: m.plan(QUESTION, keep_share=0.5, keep_layers=3), lac.LacError, "exclude each other"),
    (lambda m: m.plan(QUESTION, by="taste"), lac.LacError, "by is"),
    (lambda m: m.plan(QUESTION, phase="all"), lac.LacError, "phase is"),
    (lambda m: lac.evaluate(m, "sudoku"), lac.LacError, "sudoku"),
    (lambda m: lac.evaluate(m, "boolq", data="/nowhere"), lac.LacError, "/nowhere"),
    (lambda m: lac.evaluate(m, "boolq", per="hour"), lac.LacError, "per is"),
    (lambda m: lac.evaluate(m, "boolq", protocol="paper", few_shot=2), lac.LacError, "few_shot"),
    (lambda m: lac.evaluate(m, "boolq", limit=0), lac.LacError, None),
    (lambda m: lac.load("/nowhere"), lac.LacError, "/nowhere"),
    (lambda m: lac.load("demo", dtype="f8"), lac.LacError, 'unknown data type "f8"'),
    (lambda m: lac.load("demo", device="tpu"), lac.LacError, "unknown device"),
    (lambda m: lac.load("demo", device="cuda"), lac.LacError, "device cuda"),
    (lambda m: lac.load("demo", quantize="q2"), lac.LacError, "q8_0 or q4_0"),
    (lambda m: lac.load("demo", threads=0), lac.LacError, "threads is 0"),
    (lambda m: lac.load(None), TypeError, None),  # type: ignore[arg-type]
    (lambda m: lac.read_trace("/nowhere.parquet"), lac.LacError, "/nowhere.parquet"),
    (lambda m: lac.read_trace(__file__), lac.LacError, "test_errors.py"),
    (lambda m: lac.read_plan(__file__), lac.LacError, "not a plan"),
    (lambda m: lac.report([__file__], "report"), lac.LacError, "test_errors.py"),
]


@pytest.mark.parametrize(("use", "error", "words"), REFUSED, ids=range(len(REFUSED)))
def test_mistakes_are_exceptions(model: lac.Model, use: Use, error: type[BaseException], words: str | None) -> None:
    with pytest.raises(error, match=words) as raised:
        use(model)
    # Settings have Python's names; what cargo is given has its own.
    assert "--" not in str(raised.value).replace("--features", "")


def test_the_model_goes_on_after_all_of_this(model: lac.Model) -> None:
    assert model.generate(QUESTION, max_new_tokens=3).text


def test_huge_settings_end_where_the_context_does(model: lac.Model) -> None:
    out = model.generate(QUESTION, max_new_tokens=10**12, alpha=3e38, policy="trace")
    assert out.stop_reason in ("stop_token", "context_full")


def test_a_closed_model_says_so() -> None:
    with lac.load("demo", progress=False) as model:
        assert not model.closed
    assert model.closed and repr(model) == "<lac.Model, closed>"
    model.close()
    for use in (lambda: model.generate("a"), lambda: model.n_layers, lambda: model.stream("a")):
        with pytest.raises(lac.LacError, match="the model is closed"):
            use()


def test_devices_are_listed() -> None:
    found = lac.devices()
    assert found["cpu"] and set(found) == {"cpu", "wgpu", "vulkan", "cuda"}


def test_notices_are_warnings(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", "import lac; lac.set = lac.load('demo', threads=1); lac.load('demo', threads=7)"],
        capture_output=True,
        text=True,
        check=True,
        # Elsewhere than beside the package's source.
        cwd=tmp_path,
    )
    assert "LacWarning: threads=7 has no effect" in process.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("how", ["generate", "trace", "loglikelihood", "stream"])
def test_ctrl_c_ends_a_computation(model: lac.Model, how: str) -> None:
    endless = {"max_new_tokens": 10**6, "ignore_generation_config": True}
    slow = type("Slow", (lac.Policy,), {"after": lambda self, *_: time.sleep(0.02)})()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        while True:
            if how == "loglikelihood":
                model.loglikelihood([("Kodo lives in", " a house.")] * 400, batch_size=1)
            elif how == "stream":
                list(model.stream(QUESTION, policy=slow, **endless))
            else:
                getattr(model, how)(QUESTION, policy="trace", **endless)
    timer.join()
    assert time.monotonic() - start < 5
    assert model.generate(QUESTION, max_new_tokens=3).text


def test_threads_share_a_model(model: lac.Model) -> None:
    expected = model.trace(QUESTION, alpha=0.4, max_new_tokens=10)
    n_looks = 0
    results: list[lac.Trace] = []

    def trace() -> None:
        for _ in range(5):
            results.append(model.trace(QUESTION, alpha=0.4, max_new_tokens=10))

    threads = [threading.Thread(target=trace) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # Python goes on meanwhile.
        n_looks += 1
        time.sleep(0.001)
    assert len(results) == 15 and n_looks > 3
    for trace_ in results:
        assert (trace_.norms == expected.norms).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_is_told(tmp_path: Path) -> None:
    code = (
        "import os, lac\n"
        "model = lac.load('demo', progress=False)\n"
        "model.generate('Hello', max_new_tokens=2)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try: model.generate('Hello', max_new_tokens=2)\n"
        "    except lac.LacError as error: os._exit(7 if 'forked' in str(error) else 8)\n"
        "    os._exit(9)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 7


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_many_traces_leave_no_memory_behind(model: lac.Model) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def traces(n: int) -> None:
        for _ in range(n):
            model.trace("Kodo", raw=True, max_new_tokens=1)

    traces(150)
    before = resident()
    traces(450)
    # A trace of these sizes is some kilobytes; four hundred and fifty that stayed would be more than this.
    assert resident() - before < 2_000_000


def test_the_import_is_light(tmp_path: Path) -> None:
    heavy = {"pandas", "polars", "pyarrow", "matplotlib", "tqdm"}
    code = f"import sys, lac; print(*sorted({heavy} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert process.stdout.strip() == ""
