"""Make model folders from ComfyUI's files: identify them by tensors and link them.

Nothing is converted: the services read these files as they are. Small configurations are written from
`small_files.json`, the tokenizers are ComfyUI's own copies, beside its models. Nothing that is there is changed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgedit.errors import ModelLoadError
from imgedit.weights.identify import BEN2, FLUX, QWEN, QWEN_2511, Identity, identified

FOLDERS = ("unet", "diffusion_models", "text_encoders", "clip", "vae", "loras")
"""Folders of ComfyUI's models that are looked into, beside the models folder itself and folders called BEN2."""

SUFFIXES = (".gguf", ".safetensors", ".pth")
MAX_FILES = 10_000

SMALL_FILES = Path(__file__).with_name("small_files.json")

CLIP_TOKENIZER, T5_TOKENIZER, QWEN_TOKENIZER = (
    "comfy/sd1_tokenizer",
    "comfy/text_encoders/t5_tokenizer",
    "comfy/text_encoders/qwen25_tokenizer",
)
BPE = ("vocab.json", "merges.txt")


@dataclass(frozen=True)
class Recipe:
    """The files of a complete model folder.

    networks: component → the files by which people know it. tokenizers: component → ComfyUI's folder of it, and the
    files that are taken. small: whose small files are written. key: its name in `imgedit models pull`.
    """

    key: str
    networks: Mapping[str, str]
    tokenizers: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    small: str = ""
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_QWEN_NETWORKS = {
    "transformer": "a GGUF or safetensors file of qwen_image_edit_{}",
    "text_encoder": "qwen_2.5_vl_7b.safetensors or qwen_2.5_vl_7b_fp8_scaled.safetensors",
    "vae": "qwen_image_vae.safetensors",
}
_QWEN_TOKENIZERS = {"tokenizer": (QWEN_TOKENIZER, BPE)}

RECIPES = {
    BEN2: Recipe("ben2", {"": "BEN2_Base.pth or model.safetensors"}),
    FLUX: Recipe(
        "flux-fill",
        {
            "transformer": "a GGUF or safetensors file of flux1-fill-dev",
            "text_encoder": "clip_l.safetensors",
            "text_encoder_2": "t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn.safetensors",
            "vae": "ae.safetensors",
        },
        {"tokenizer": (CLIP_TOKENIZER, BPE), "tokenizer_2": (T5_TOKENIZER, ("tokenizer.json",))},
        FLUX,
    ),
    QWEN: Recipe(
        "qwen-image-edit",
        {name: text.format("2509") for name, text in _QWEN_NETWORKS.items()},
        _QWEN_TOKENIZERS,
        QWEN,
    ),
    QWEN_2511: Recipe(
        "qwen-image-edit-2511",
        {name: text.format("2511") for name, text in _QWEN_NETWORKS.items()},
        _QWEN_TOKENIZERS,
        QWEN,
        {"transformer/config.json": {"zero_cond_t": True}},
    ),
}


@dataclass(frozen=True)
class Found:
    """A weights file of the source.

    path: in the source. fault: the damage of a damaged file.
    """

    path: Path
    size: int
    identity: Identity | None
    fault: str = ""

    @property
    def described(self) -> str:
        """The file's model and form, for people."""
        return "" if self.identity is None else f"{self.identity.what} ({self.identity.form})"


@dataclass(frozen=True)
class Placed:
    """A file in its place. how: link, copy, written, or there = it was there before."""

    source: str
    target: str
    what: str
    how: str


@dataclass
class Model:
    """A model's folder afterwards. missing: what it still lacks, for people."""

    folder: str
    key: str
    placed: list[Placed] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass
class Report:
    """The files that were found and adopted.

    left_out: known files that are unused, or superseded by another one.
    """

    models: list[Model] = field(default_factory=list)
    loras: list[Placed] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    not_understood: list[tuple[str, str]] = field(default_factory=list)


def adopt(source: Path, target: Path, *, take: tuple[Path, ...] = (), copy: bool = False, dry: bool = False) -> Report:
    """Link the source's weights into model folders below `target`, and report.

    The report lists placed, missing and unknown files.

    take: files that are preferred where several are of one network; else the largest one is taken. copy: copy instead
    of linking. dry: change nothing. Raises `ModelLoadError` for folders that cannot be worked with.
    """
    source, target = source.resolve(), target.absolute()
    _check_folders(source, target)
    chosen = _check_taken(take)
    report = Report()
    by_place: dict[tuple[str, str], list[Found]] = {}
    found = [*_files(source, target)]
    if unknown := sorted(str(path) for path in chosen - {each.path for each in found}):
        raise ModelLoadError(f"--take {unknown[0]}: not among the weights files of {source}")
    for each in found:
        shown = each.path.relative_to(source).as_posix()
        if each.identity is None:
            report.not_understood.append((shown, each.fault or "its tensors are those of no model that is known here"))
        elif not each.identity.models:
            report.left_out.append((shown, each.identity.what))
        elif each.identity.component == "loras":
            report.loras.append(_placed(each.path, target / "loras" / each.path.name, each.identity.what, copy, dry))
        else:
            for model in each.identity.models:
                by_place.setdefault((model, each.identity.component), []).append(each)
    wanted = {model for (model, component), _ in by_place.items() if component in ("transformer", "")}
    if any(model in (QWEN, QWEN_2511) for model, _ in by_place) and not wanted & {QWEN, QWEN_2511}:
        wanted.add(QWEN)  # parts that both releases have, and no transformer: the missing one is named
    wanted |= {model for model, _ in by_place if model == FLUX}
    for folder in RECIPES:
        if folder in wanted:
            report.models.append(_model(source, target, folder, by_place, chosen, report, copy=copy, dry=dry))
    return report


def _check_folders(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise ModelLoadError(f"{source}: no such folder; ComfyUI's `models` folder is expected")
    if (source / "models").is_dir() and not any((source / name).is_dir() for name in FOLDERS):
        raise ModelLoadError(f"{source}: this is ComfyUI itself; name its models folder, {source / 'models'}")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ModelLoadError(f"{target}: a folder is expected for --models, and nothing is written through a link")
    if any(target.resolve().is_relative_to(source / name) for name in FOLDERS):
        raise ModelLoadError(f"{target}: --models must not be inside a folder that is looked into")


def _check_taken(take: tuple[Path, ...]) -> set[Path]:
    for path in take:
        if not path.is_file():
            raise ModelLoadError(f"--take {path}: there is no such file")
    return {path.resolve() for path in take}


def _files(source: Path, target: Path) -> Iterator[Found]:
    """Yield the source's weights files: in it, in its known folders, and BEN2's."""
    seen: set[Path] = set()
    paths = [*source.iterdir(), *source.rglob("BEN2*.pth"), *source.glob("BEN2/*")]
    for name in FOLDERS:
        paths += (source / name).rglob("*")
    for path in sorted(paths):
        real = path.resolve()
        is_ours = target != source and any(path.is_relative_to(target / folder) for folder in RECIPES)
        if path.suffix not in SUFFIXES or real in seen or not real.is_file() or is_ours:
            continue
        seen.add(real)
        if len(seen) > MAX_FILES:
            raise ModelLoadError(f"{source}: more than {MAX_FILES} weights files")
        if path.suffix == ".pth" and not path.name.startswith("BEN2"):
            continue
        identity, fault = identified(path)
        yield Found(path, real.stat().st_size, identity, fault)


def _model(
    source: Path,
    target: Path,
    folder: str,
    by_place: Mapping[tuple[str, str], list[Found]],
    chosen: set[Path],
    report: Report,
    *,
    copy: bool,
    dry: bool,
) -> Model:
    recipe = RECIPES[folder]
    model = Model(folder, recipe.key)
    for component, people_know in recipe.networks.items():
        place = target / folder / component
        candidates = by_place.get((folder, component), [])
        if present := _weights_in(place):
            model.placed.append(Placed("", str(present), "weights", "there"))
            candidates = [each for each in candidates if each.path.resolve() != present.resolve()]
            reason = f"{place.relative_to(target).as_posix()} holds {present.name} already"
        elif candidates:
            best = max(candidates, key=lambda each: (each.path.resolve() in chosen, each.size, each.path.name))
            model.placed.append(_placed(best.path, place / best.path.name, best.described, copy, dry))
            candidates = [each for each in candidates if each is not best]
            reason = f"{best.path.name} was taken, --take names another"
        else:
            model.missing.append(f"{component or 'weights'}: {people_know}")
        for each in candidates:
            report.left_out.append((each.path.relative_to(source).as_posix(), reason))
    model.placed += _small_files(target / folder, recipe, dry=dry)
    for component, (comfy, names) in recipe.tokenizers.items():
        for name in names:
            place = target / folder / component / name
            origin = source.parent / comfy / name
            if _has_tokenizer(place.parent, names):
                continue
            if origin.is_file():
                model.placed.append(_placed(origin, place, "tokenizer", True, dry))
            else:
                model.missing.append(
                    f"{component}: {name} (ComfyUI has it as {comfy}/{name}, beside its models folder)"
                )
    return model


def _weights_in(place: Path) -> Path | None:
    """A weights file that is there already."""
    if not place.is_dir():
        return None
    return next((path for path in sorted(place.iterdir()) if path.suffix in SUFFIXES), None)


def _has_tokenizer(place: Path, names: tuple[str, ...]) -> bool:
    return (place / "tokenizer.json").is_file() or all((place / name).is_file() for name in names)


def _placed(origin: Path, place: Path, what: str, copy: bool, dry: bool) -> Placed:
    """Link or copy one file to its place; what is there stays."""
    if place.exists() or place.is_symlink():
        return Placed(str(origin), str(place), what, "there")
    if not dry:
        _make_folder(place.parent)
        if copy:
            scratch = place.with_name(f".{place.name}.{os.getpid()}")
            shutil.copyfile(origin, scratch)
            scratch.replace(place)
        else:
            place.symlink_to(origin.resolve())
    return Placed(str(origin), str(place), what, "copy" if copy else "link")


def _make_folder(folder: Path) -> None:
    """Make the folder and those above it.

    Neither it nor its parent may be a symbolic link, which could lead anywhere.
    """
    for each in (folder.parent, folder):
        if each.is_symlink():
            raise ModelLoadError(f"{each} is a symbolic link, and nothing is written through links")
    folder.mkdir(parents=True, exist_ok=True)


def _small_files(folder: Path, recipe: Recipe, *, dry: bool) -> list[Placed]:
    """Write the configurations that are missing, with the published values."""
    if not recipe.small:
        return []
    written = []
    contents: dict[str, dict[str, Any]] = json.loads(SMALL_FILES.read_text(encoding="utf-8"))[recipe.small]
    for name, content in contents.items():
        place = folder / name
        if place.exists() or place.is_symlink():  # a link that leads nowhere yet could lead anywhere
            continue
        if not dry:
            _make_folder(place.parent)
            text = json.dumps({**content, **recipe.changes.get(name, {})}, indent=2, ensure_ascii=False)
            place.write_text(text + "\n", encoding="utf-8")
        written.append(Placed("", str(place), "configuration", "written"))
    return written
