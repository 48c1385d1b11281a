"""The model class of lm-evaluation-harness, where the harness is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lac

pytest.importorskip("lm_eval")


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(request_type=kind, doc={}, arguments=one, idx=idx) for idx, one in enumerate(arguments)]


@pytest.fixture(scope="module")
def lm(model: lac.Model) -> Any:
    from lac.lm_eval import LacLM

    return LacLM(model, batch_size=4)


def test_the_harness_devices_and_types_are_understood() -> None:
    from lac.lm_eval import LacLM

    other = LacLM("demo", device="cuda:0" if not lac.devices()["cuda"] else "cpu", dtype="float32", batch_size="auto")
    assert (other.model.device, other.model.dtype, other.batch_size) == ("cpu", "f32", 16)
    with pytest.raises(lac.LacError, match="speed is not known"):
        LacLM("demo", speed=3)


def test_the_harness_knows_the_model(tmp_path: Path) -> None:
    code = "from lm_eval.api.registry import get_model; print(get_model('lac').__module__)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    if process.returncode and not list(Path(lac.__file__).parent.parent.glob("_lac_lm_eval.pth")):
        pytest.skip("the package lies in its source folder, without what it installs beside itself")
    assert process.stdout.strip() == "lac.lm_eval", process.stderr


def test_pairs_texts_and_prompts_are_the_models(model: lac.Model, lm: Any) -> None:
    pairs = [("Kodo lives in", " a house."), ("", "Kodo"), ("Kodo ", "lives")]
    scored = lm.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    values, greedy = model.loglikelihood(pairs)
    assert np.allclose([value for value, _ in scored], values, atol=1e-4)
    assert [flag for _, flag in scored] == greedy.tolist()

    (total,) = lm.loglikelihood_rolling(
        instances("loglikelihood_rolling", [("Kodo lives in a house.",)]), disable_tqdm=True
    )
    ids = model.tokenize("Kodo lives in a house.")
    expected, _ = model.loglikelihood([lm.prefix_token_id], ids)
    assert total == pytest.approx(expected, abs=1e-4)

    prompt = model.apply_chat_template([{"role": "user", "content": "Where does Kodo live?"}])
    settings = {"until": ["\n"], "max_gen_toks": 20, "do_sample": False}
    (text,) = lm.generate_until(instances("generate_until", [(prompt, settings)]), disable_tqdm=True)
    ids = model.tokenize(prompt)
    assert text == model.generate(ids, max_new_tokens=20, stop="\n", greedy=True).text
    assert lm.apply_chat_template([{"role": "user", "content": "Where does Kodo live?"}]) == prompt


#: The embedded yes-or-no questions, in Google's format.
BOOLQ = Path(__file__).parents[2] / "crates/lac-demo/assets/sets/boolq/dev.jsonl"

#: The harness's task `boolq`, with its words, on a file.
BOOLQ_TASK = {
    "task": "boolq_of_a_file",
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{title}} -- {{passage}}\nQuestion: {{question}}?\nAnswer:",
    "doc_to_choice": ["no", "yes"],
    "doc_to_target": "{{answer | int}}",
    "metric_list": [{"metric": "acc"}],
}


@pytest.mark.skipif(not BOOLQ.exists(), reason="the sets lie in the repository")
def test_a_task_gives_what_lac_eval_gives(model: lac.Model, lm: Any, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    import lm_eval
    from lm_eval.tasks import TaskManager

    limit = 16
    data = tmp_path / "boolq.jsonl"
    data.write_text("".join(BOOLQ.read_text().splitlines(keepends=True)[:limit]))
    task = {**BOOLQ_TASK, "dataset_kwargs": {"data_files": {"test": str(data)}}}
    results = lm_eval.simple_evaluate(
        lm, tasks=[task], task_manager=TaskManager(include_defaults=False), bootstrap_iters=0, log_samples=True
    )
    samples = results["samples"]["boolq_of_a_file"]
    logged = [[float(score[0][0]) for score in sample["resps"]] for sample in samples]
    frame = lac.evaluate(model, "boolq", data=data, per="question")
    assert len(frame) == len(logged) == limit
    assert np.allclose(frame["log_likelihoods"].tolist(), logged, atol=1e-4)
    accuracy = results["results"]["boolq_of_a_file"]["acc,none"]
    assert accuracy == pytest.approx(frame["right"].mean()) and accuracy > 0.9
