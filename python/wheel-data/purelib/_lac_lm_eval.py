"""Tells lm-evaluation-harness of the model `lac` once the harness is imported: it looks for no plugins itself.

Python imports this file when it starts, through `_lac_lm_eval.pth` beside it. Until `lm_eval.models` is imported, one
comparison of names for each import is all that it does.
"""

import sys


class _Finder:
    """Registers the model after the harness has registered its own."""

    def find_spec(self, name, path=None, target=None):
        if name != "lm_eval.models":
            return None
        import importlib.util

        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            try:
                from lm_eval.api.registry import model_registry

                if "lac" not in model_registry:
                    model_registry.register("lac", target="lac.lm_eval:LacLM")
            except Exception:  # An older harness, without lazy models: it still has its own.
                pass

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Finder())
