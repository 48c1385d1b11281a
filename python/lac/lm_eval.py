"""The model class `lac` of lm-evaluation-harness: all of its tasks run on lac, GGUF files included.

```sh
lm_eval --model lac --model_args pretrained=demo --tasks …
```

`model_args` are those of `lac.load` (`pretrained` is the model, `dtype`, `device`, `threads`, `quantize`), and
`policy`, `alpha` and `plan` for the policy that tasks run under.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from ._errors import LacError
from ._model import Model, devices, load
from ._policy import policy_args

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

#: New tokens where a task does not say how many.
MAX_NEW_TOKENS = 256


@register_model("lac")
class LacLM(TemplateLM):  # type: ignore[misc]
    """A model of lac under lm-evaluation-harness."""

    def __init__(
        self,
        pretrained: str | Model,
        *,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        max_length: int | None = None,
        max_gen_toks: int = MAX_NEW_TOKENS,
        dtype: str = "auto",
        device: str | None = None,
        threads: int | None = None,
        quantize: str | None = None,
        strict: bool = False,
        policy: str = "off",
        alpha: float | None = None,
        plan: str | None = None,
        **unknown: Any,
    ):
        super().__init__()
        # The harness hands over switches of its own that concern other models.
        refused = [name for name in unknown if name not in ("trust_remote_code", "tokenizer")]
        if refused:
            raise LacError(f"model_args: {refused[0]} is not known; see lac.lm_eval")
        if isinstance(pretrained, Model):
            self.model = pretrained
        else:
            self.model = load(
                pretrained,
                # The harness's words for data types.
                dtype={"float32": "f32", "bfloat16": "bf16", "float16": "f16"}.get(dtype, dtype),
                device=_device(device),
                threads=threads,
                quantize=quantize,
                strict=strict,
                progress=False,
            )
        self._policy: dict[str, Any] = {"policy": policy, "alpha": alpha, "plan": plan}
        policy_args(policy, alpha, plan)
        # "auto" looks for the largest batch that fits; on the CPU larger ones bring nothing.
        self._batch_size = int(str(batch_size)) if str(batch_size).isdigit() else 16
        self._max_length = min(max_length or self.model.max_context, self.model.max_context)
        self._max_gen_toks = max_gen_toks

    @property
    def batch_size(self) -> int:
        """Texts that are scored or written side by side."""
        return self._batch_size

    @property
    def max_length(self) -> int:
        """The greatest number of tokens of a text."""
        return self._max_length

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        special = self.model.special_ids
        ends = [special["eos"], *self.model.stop_ids, special["bos"]]
        return next((token for token in ends if token is not None), 0)

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text without a context."""
        begin = self.model.special_ids["bos"]
        return self.eot_token_id if begin is None else begin

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Returns the ids of a text."""
        special = {None: "once", True: "always", False: "never"}[add_special_tokens]
        ids: list[int] = self.model.tokenize(string, special=special).tolist()
        return ids

    def _loglikelihood_tokens(
        self, requests: list[Any], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        pairs = []
        for _texts, context, continuation in requests:
            # Contexts that are too long lose their beginning, as in the harness: its limit may be below the model's.
            n_kept = max(self.max_length + 1 - len(continuation), 1)
            pairs.append((context[-n_kept:], continuation))
        if not pairs:
            return []
        progress = False if disable_tqdm else None
        values, greedy = self.model.loglikelihood(pairs, batch_size=self._batch_size, progress=progress, **self._policy)
        scores = [(float(value), bool(flag)) for value, flag in zip(values, greedy)]
        for (texts, _, _), score in zip(requests, scores):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, score)
        return scores

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Scores whole texts, in windows that follow each other."""
        windows: list[Any] = []
        counts = []
        for request in requests:
            (text,) = request.args
            of_text = get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            pairs = [(None, *make_disjoint_window(window)) for window in of_text]
            windows += pairs
            counts.append(len(pairs))
        scores = iter(self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm))
        totals = []
        for request, count in zip(requests, counts):
            total = sum(next(scores)[0] for _ in range(count))
            totals.append(total)
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continues prompts up to their stop strings."""
        texts = []
        bar = _bar(len(requests), disable_tqdm)
        for request in requests:
            context, settings = request.args
            text = self._continue(context, dict(settings))
            texts.append(text)
            self.cache_hook.add_partial("generate_until", (context, settings), text)
            bar.update(1)
        bar.close()
        return texts

    def _continue(self, context: str, settings: dict[str, Any]) -> str:
        until = settings.pop("until", None) or []
        until = [until] if isinstance(until, str) else list(until)
        max_new_tokens = self._max_gen_toks
        for name in ("max_completion_tokens", "max_tokens", "max_new_tokens", "max_gen_toks"):
            value = settings.pop(name, None)
            max_new_tokens = max_new_tokens if value is None else int(value)
        temperature = settings.pop("temperature", None)
        draws = settings.pop("do_sample", bool(temperature))
        sampling: dict[str, Any] = {"greedy": True}
        if draws and temperature != 0.0:
            known = ("top_p", "top_k", "min_p", "seed")
            sampling = {name: settings[name] for name in known if name in settings}
            sampling["temperature"] = temperature or 1.0
        ids = self.tok_encode(context)
        # The beginning of a prompt that leaves no room is lost, as in the harness.
        room = max(self.max_length - max_new_tokens, 1)
        generation = self.model.generate(
            ids[-room:], max_new_tokens=max_new_tokens, stop=until, progress=False, **sampling, **self._policy
        )
        return str(generation)

    # Chats

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the harness's caches."""
        return self.model.name.replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Names the chat template in the harness's caches: the model's own is applied."""
        return "" if chat_template is False or chat_template is None else f"of {self.model.name}"

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Renders a conversation in the model's chat format."""
        if not add_generation_prompt:
            # The last message is the beginning of the answer.
            *before, last = chat_history
            return str(self.model.apply_chat_template(before)) + last["content"]
        return str(self.model.apply_chat_template(chat_history))


def _device(asked: str | None) -> str:
    """Returns the device that is computed on: the harness asks for a GPU wherever nobody has said anything."""
    kind = (asked or "cpu").split(":")[0]
    return asked if asked and devices().get(kind) else "cpu"


def _bar(total: int, is_hidden: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, disable=is_hidden, desc="Running generate_until requests")
