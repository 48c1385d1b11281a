"""The notebooks run from their first cell to their last.

Outputs are compared with nothing. With `LAC_WRITE_NOTEBOOKS=1` the notebooks are written with their outputs, to be read
where they are not run.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")
pytest.importorskip("pandas")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    about = dict(notebook.metadata)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(tmp_path))
    assert sum(bool(cell.get("outputs")) for cell in notebook.cells) > 3
    if os.environ.get("LAC_WRITE_NOTEBOOKS"):
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            outputs = cell.get("outputs", [])
            # Bars of progress are nothing to read.
            if outputs:
                cell.outputs = [output for output in outputs if output.get("name") != "stderr"]
        notebook.metadata = about
        nbformat.write(notebook, path)


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) == 3
