"""Imports go one way: imgedit ← services.common ← services.diffusion ← the rest.

studio imports only imgedit.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

MODEL_LIBRARIES = ("accelerate", "diffusers", "gguf", "peft", "safetensors", "torch", "transformers")
SERVER_LIBRARIES = (
    "grpc_reflection",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "pythonjsonlogger",
    "redis",
    "yaml",
)
MODEL_SERVICES = ("segmentation", "fill", "qwen_edit")
SERVICES = ("orchestrator", *MODEL_SERVICES, "openai_api")
OURS = ("imgedit", "services", "demo", "tests", "benchmarks", "studio", "deploy", "docs_tools", "tools")

MAY_IMPORT = {
    "imgedit": ("imgedit",),
    "studio": ("imgedit", "studio"),
    "services/common": ("imgedit", "services.common"),
    "services/diffusion": ("imgedit", "services.common", "services.diffusion"),
    **{f"services/{x}": ("imgedit", "services.common", "services.diffusion", f"services.{x}") for x in SERVICES},
    "demo": ("imgedit", "services", "demo"),
    "benchmarks": ("imgedit", "services", "demo", "benchmarks"),
    "deploy": ("imgedit", "services.openai_api", "deploy"),
    "docs_tools": ("imgedit", "services", "deploy", "docs_tools"),
    "tools": ("imgedit", "deploy", "tools"),
}
"""What the modules in a folder may import of this project."""

ROOMS: dict[str, dict[str, tuple[str, ...]]] = {
    "imgedit": {"cli": ("imaging", "local", "weights"), "imaging": ("local",), "local": ("weights",), "weights": ()},
    "services/orchestrator": {
        "edits": ("backends", "catalogue", "chain", "imaging", "request", "webhooks"),
        "chain": ("backends", "catalogue", "imaging", "request"),
        "listing": ("backends", "catalogue", "request"),
        "request": ("catalogue", "imaging"),
        "backends": (),
        "catalogue": (),
        "imaging": (),
        "webhooks": (),
    },
    "services/diffusion": {"networks": ("engine", "weights"), "engine": (), "weights": ()},
    "imgedit/cli": {"machine": ()},
    "studio": {"gallery": ("components",), "components": ()},
    "services/orchestrator/catalogue": {"comfyui": ()},
    "services/segmentation": {"ben2": ()},
    "services/segmentation/ben2": {"cpu": ()},
    "benchmarks": {
        "suite": (),
        "region": ("demo_quality",),
        "demo_quality": (),
        "full_size": (),
        "soak": (),
        "scaling": (),
    },
    "deploy": {"docker": (), "envoy": (), "grafana": ("prometheus",), "prometheus": ()},
    "demo": {"train": ("tiny", "world"), "judge": ("world",), "tiny": (), "world": ()},
    "demo/train": {"ben2": ("shared",), "flux_fill": ("shared",), "qwen_edit": ("flux_fill", "shared"), "shared": ()},
}
"""The rooms of a package, and which of the others each may import; all may import the modules beside the rooms."""

PACKAGES = ("imgedit", "services", "studio", "demo", "benchmarks", "deploy", "docs_tools", "tools")
"""All that is written by hand, but for the tests."""

MAX_MODULES = 24
"""In one folder."""

MAY_BE_LARGER = {"studio"}
"""Streamlit's page, whose modules are its parts from top to bottom."""

BORDER = re.compile(r"\b(no|none|not|nothing|never|neither|only|without)\b", re.IGNORECASE)
"""Of a package's docstring: words that say what does not belong there."""

LIGHT_FILES = ("__main__.py", "servicer.py", "settings.py", "spec.py")
"""Files of a model service that the server imports before, or without, the model."""

IMPORT_WITHOUT = """
import importlib, sys

blocked, modules = set({blocked!r}), {modules!r}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
for module in modules:
    importlib.import_module(module)
"""


def sources(folder: str) -> list[Path]:
    """The project's own modules; generated code is left out."""
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if not is_generated(path)]


def is_generated(path: Path) -> bool:
    return path.parent in (ROOT / "imgedit/v1", ROOT / "imgedit/inference/v1")


def module_name(path: Path) -> str:
    """services/fill/__main__.py → services.fill.__main__"""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def statements(body: list[ast.stmt], *, inside_functions: bool) -> Iterator[ast.stmt]:
    """All statements, or without `inside_functions` only those that run at import."""
    for statement in body:
        yield statement
        is_function = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        is_for_types = isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"
        if inside_functions or not (is_function or is_for_types):
            for name in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, name, []), inside_functions=inside_functions)
            for branch in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
                yield from statements(branch.body, inside_functions=inside_functions)


def imported(path: Path, *, inside_functions: bool) -> Iterator[str]:
    """The dotted names that a file imports.

    `from a import b` counts as a.b, since b may be a module.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for statement in statements(tree.body, inside_functions=inside_functions):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path}:{statement.lineno}: relative import"
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def import_without(blocked: tuple[str, ...], modules: list[str]) -> None:
    """Import the modules in a subprocess in which the blocked packages do not exist."""
    code = IMPORT_WITHOUT.format(blocked=blocked, modules=modules)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_package_imports_only_what_stands_before_it(folder: str) -> None:
    faults = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(folder)
        for name in imported(path, inside_functions=True)
        if is_within(name, OURS) and not is_within(name, MAY_IMPORT[folder])
    ]
    assert not faults


@pytest.mark.parametrize(("package", "room"), [(package, room) for package, rooms in ROOMS.items() for room in rooms])
def test_a_room_imports_only_the_rooms_below_it(package: str, room: str) -> None:
    root = package.replace("/", ".")
    allowed = (room, *ROOMS[package][room])
    faults = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(f"{package}/{room}")
        for name in imported(path, inside_functions=True)
        for other in ROOMS[package]
        if is_within(name, (f"{root}.{other}",)) and other not in allowed
    ]
    assert not faults


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_are_ordered_and_every_one_has_its_rule(package: str) -> None:
    rooms = ROOMS[package]
    found = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")} - {"v1", "inference"}
    found -= {room for room in found if f"{package}/{room}" in MAY_IMPORT}
    assert found == set(rooms)
    assert not any(room in rooms[other] for room in rooms for other in rooms[room]), "two rooms import each other"


def test_no_folder_holds_more_modules_than_a_reader_keeps_in_mind() -> None:
    counts = {
        folder: sum(path.suffix == ".py" and path.name != "__init__.py" for path in folder.iterdir())
        for package in (*PACKAGES, "tests/unit")
        for folder in (ROOT / package, *(ROOT / package).rglob("*/"))
    }
    crowded = {folder.relative_to(ROOT).as_posix(): count for folder, count in counts.items() if count > MAX_MODULES}
    assert set(crowded) <= MAY_BE_LARGER


def folders() -> set[str]:
    """Every package that is written by hand."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")]
    return {path.parent.relative_to(ROOT).as_posix() for path in paths if not is_generated(path)} - {
        "imgedit/inference"
    }


def test_every_package_says_what_lives_there_and_what_may_not() -> None:
    texts = {
        folder: ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text("utf-8"))) for folder in folders()
    }
    assert {folder for folder, text in texts.items() if not BORDER.search(text or "")} == set()


def test_every_package_has_an_import_rule() -> None:
    assert {folder for folder in folders() if not any(f"{folder}/".startswith(f"{rule}/") for rule in MAY_IMPORT)} == {
        "services"
    }


def test_every_package_inside_another_is_a_room_with_a_rule() -> None:
    rooms = {f"{package}/{room}" for package, inside in ROOMS.items() for room in inside}
    inner = {folder for folder in folders() if "/" in folder}
    assert inner - rooms == {folder for folder in MAY_IMPORT if folder.startswith("services/")}


@pytest.mark.parametrize(
    "folder",
    [
        "imgedit",
        "services/common",
        "services/openai_api",
        "services/orchestrator",
        "services/diffusion/engine",
        "studio",
    ],
)
def test_no_file_of_client_page_and_orchestrator_imports_a_model_library(folder: str) -> None:
    faults = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(folder)
        for name in imported(path, inside_functions=True)
        if is_within(name, MODEL_LIBRARIES)
    ]
    assert not faults


@pytest.mark.parametrize("service", MODEL_SERVICES)
@pytest.mark.parametrize("file", LIGHT_FILES)
def test_a_model_service_imports_no_model_library_before_it_loads_its_model(service: str, file: str) -> None:
    path = ROOT / "services" / service / file
    if not path.exists():
        assert file == "spec.py", f"every service has a {file}"
        return
    heavy = [name for name in imported(path, inside_functions=False) if is_within(name, MODEL_LIBRARIES)]
    assert not heavy


def test_the_client_imports_without_the_packages_of_the_servers() -> None:
    modules = [module_name(path) for path in sources("imgedit")]
    import_without((*MODEL_LIBRARIES, *SERVER_LIBRARIES, "huggingface_hub", "services"), modules)


@pytest.mark.parametrize("service", ["orchestrator", "openai_api"])
def test_what_runs_no_model_imports_without_a_model_library(service: str) -> None:
    modules = [module_name(path) for folder in ("common", service) for path in sources(f"services/{folder}")]
    import_without(MODEL_LIBRARIES, modules)


def test_the_page_imports_without_a_model_library_and_without_the_servers() -> None:
    modules = [module_name(path) for path in sources("studio") if path.name != "app.py"]
    import_without((*MODEL_LIBRARIES, "grpc_reflection", "prometheus_client", "services"), modules)


@pytest.mark.parametrize("service", MODEL_SERVICES)
def test_the_server_of_a_model_service_imports_without_a_model_library(service: str) -> None:
    files = [ROOT / "services" / service / file for file in LIGHT_FILES]
    import_without(MODEL_LIBRARIES, [module_name(path) for path in files if path.exists()])
