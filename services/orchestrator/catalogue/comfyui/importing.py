"""Convert a workflow file to a catalogue file.

The catalogue itself checks the result before it is returned.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from imgedit.errors import SettingsError
from services.orchestrator.catalogue import experiments
from services.orchestrator.catalogue.comfyui import document, planning, writing
from services.orchestrator.catalogue.comfyui.document import WorkflowError, shown_value
from services.orchestrator.catalogue.comfyui.graph import Graph

ID_PATTERN = re.compile(r"[a-z0-9_]{1,64}")


def imported(path: Path, experiment_id: str | None = None, save_node: str | None = None) -> str:
    """The YAML of the experiment that a workflow file stands for.

    experiment_id: None = made from the file's name. save_node: the id of the node that saves the result, where several
    do. Raises `WorkflowError`; each line names the file, and the node and field at fault.
    """
    try:
        id = _id_of(path) if experiment_id is None else _checked(experiment_id)
        graph = Graph(document.read_workflow(path))
        text = writing.catalogue_text(planning.plan_experiment(graph, graph.end(save_node)), id, path.name)
        _check(text)
    except WorkflowError as error:
        raise WorkflowError("\n".join(f"{path}: {line}" for line in document.bounded(error.message))) from None
    return text


def _checked(id: str) -> str:
    if ID_PATTERN.fullmatch(id) is None:
        raise WorkflowError(f"--id: must be 1 to 64 letters a to z, digits and _, is {shown_value(id)}")
    return id


def _id_of(path: Path) -> str:
    """An id of the letters and digits in a file's name."""
    found = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")[:64]
    if not found:
        raise WorkflowError("the file's name has no letters a to z or digits for an id; give one with --id")
    return found


def _check(text: str) -> None:
    """Raise for a chain that the catalogue refuses."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "imported.yaml"
        file.write_text(text, encoding="utf-8")
        try:
            experiments.load_catalogue(file)
        except SettingsError as error:
            faults = error.message.replace(f"{file}:", "line ").splitlines()
            raise WorkflowError("\n".join(f"makes no chain: {fault}" for fault in faults)) from None
