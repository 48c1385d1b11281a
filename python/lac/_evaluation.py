"""Benchmarks: MMLU, GPQA and BoolQ, under any policy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _lac
from ._errors import LacError, tell
from ._plan import Plan
from ._policy import AnyPolicy, policy_args
from ._progress import progress as show
from ._trace import PathLike

if TYPE_CHECKING:
    from ._model import Model


def evaluate(
    model: Model,
    benchmark: str,
    *,
    data: PathLike = "demo",
    policy: AnyPolicy | Sequence[AnyPolicy] = "off",
    alpha: float | Sequence[float] | None = None,
    plan: Plan | PathLike | None = None,
    with_full: bool = False,
    protocol: str = "lm-eval",
    harness_task: str | None = None,
    few_shot: int = 0,
    chat: bool = False,
    subjects: Sequence[str] = (),
    limit: int | None = None,
    validation: bool = False,
    seed: int = 0,
    max_new_tokens: int | None = None,
    batch_size: int = 16,
    out: PathLike | None = None,
    per: str = "variant",
    progress: bool | None = None,
) -> Any:
    """Scores a model on a benchmark. Returns a pandas data frame.

    Args:
        model: The model.
        benchmark: `mmlu`, `gpqa` or `boolq`.
        data: Its file or folder, its id on the Hugging Face hub's cache, or `demo` for the sets that lac carries.
        policy: What is done about voids; a list runs several, which are compared.
        alpha: α of policies given by name; a list runs each of them.
        plan: The plan that `planned` follows, or its file.
        with_full: Runs the full model beside the policies.
        protocol: How questions are asked: `lm-eval` as lm-evaluation-harness (log-likelihoods), `paper` as the paper's
            released code, `generative` a greedy answer in the chat format.
        harness_task: A task of the harness other than the benchmark's usual one.
        few_shot: Solved examples before each question (MMLU under `lm-eval`).
        chat: Puts prompts through the chat template under `lm-eval`.
        subjects: Only these subjects.
        limit: Only so many questions of each subject.
        validation: The split for tuning in place of the one that is reported.
        seed: Seed of the draws under `paper`.
        max_new_tokens: At most so many new tokens under `paper` and `generative`.
        batch_size: Questions that go through the model side by side.
        out: A file of results, the same as that of `lac eval`. One that is there is continued: only what has no result
            yet is asked.
        per: `variant` gives a row for each policy and α, with accuracy, usage and executed layers; `question` one for
            each question and variant; `subject` one for each variant and subject.
        progress: Whether a bar is shown.
    """
    _check_per(per)
    args = {
        "benchmark": benchmark,
        "data": Path(data),
        "validation": validation,
        "subjects": [subjects] if isinstance(subjects, str) else list(subjects),
        "limit": limit,
        "protocol": protocol.replace("_", "-"),
        "harness_task": harness_task,
        "few_shot": few_shot,
        "chat": chat,
        "seed": seed,
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "out": None if out is None else Path(out),
    }
    policies = _variants(policy, alpha, plan)
    if with_full and all(fields["name"] != "off" for fields in policies):
        policies.insert(0, policy_args("off"))
    with show("answering", "question", progress) as report:
        text, notices = _lac.evaluate(model._loaded, policies, args, report)
    tell(notices)
    return _frame(json.loads(text), per)


def read_results(path: PathLike, *, per: str = "variant") -> Any:
    """Reads a file of results, as `evaluate` and `lac eval` write it, as a pandas data frame."""
    _check_per(per)
    return _frame(json.loads(_lac.read_results(Path(path))), per)


def _check_per(per: str) -> None:
    if per not in ("variant", "question", "subject"):
        raise LacError(f"per is {per!r}, expected variant, question or subject")
    # Found before anything is computed.
    import pandas as pd

    del pd


def _variants(policy: Any, alpha: Any, plan: Any) -> list[dict[str, Any]]:
    policies = list(policy) if isinstance(policy, (list, tuple)) else [policy]
    alphas = list(alpha) if isinstance(alpha, (list, tuple)) else [alpha]
    variants = []
    for one in policies:
        # An object has its own α, and two policies have none.
        takes_alpha = isinstance(one, str) and one not in ("off", "planned")
        takes_plan = isinstance(one, str) and one == "planned"
        for value in alphas if takes_alpha else [None]:
            variants.append(policy_args(one, value, plan if takes_plan else None))
    return variants


def _frame(evaluation: dict[str, Any], per: str) -> Any:
    import pandas as pd

    labels = dict(evaluation["settings"])
    order = list(labels)
    if per == "question":
        rows = [
            {
                "variant": labels[record["settings"]],
                "row": record["row"],
                "subject": record["subject"],
                "item": record["item"],
                "answer": record["answer"],
                "predicted": record["predicted"],
                "right": record["is_right"],
                "log_likelihoods": record.get("log_likelihoods"),
                "text": record.get("text"),
                "seconds": record["seconds"],
            }
            # Questions were asked the longest first.
            for record in sorted(evaluation["records"], key=lambda one: (order.index(one["settings"]), one["row"]))
        ]
        return pd.DataFrame(rows)
    rows = []
    for table in evaluation["report"]["tables"]:
        for row in table["rows"]:
            about = {
                "model": table["settings"]["model"]["name"],
                "benchmark": table["settings"]["benchmark"],
                "policy": row["policy"],
                "alpha": row["alpha"],
            }
            if per == "variant":
                against = row["against_full"]
                p_value = None if against is None else against["p_value"]
                rows.append({**about, **row["overall"], "p_against_full": p_value})
            else:
                rows += [{**about, "subject": name, **score} for name, score in row["subjects"].items()]
    return pd.DataFrame(rows)
