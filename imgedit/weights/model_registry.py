"""The model registry: known models, downloaded files, and their verification.

`models.lock` beside the model folders records repository, commit, and each file's size and SHA-256; `verify` compares
the folders with it. Works offline and without `huggingface_hub`; `imgedit.weights.pull` downloads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from imgedit.errors import ModelDownloadError

LOCK_NAME = "models.lock"
LOCK_FORMAT = 1

GGUF_REPO = "YarvixPA/FLUX.1-Fill-dev-GGUF"
GGUF_KEY = "flux-fill-gguf"

DATA_SUFFIXES = (".gguf", ".jinja", ".json", ".model", ".safetensors", ".txt")
"""The only kinds of files that are ever pulled: weights, configurations, vocabularies."""

CODE_SUFFIXES = (".bin", ".pickle", ".pkl", ".pt", ".pth", ".py", ".pyc", ".so")
"""File types that can carry code; the services reject most of them."""


MAX_PATH_CHARACTERS = 1000


@dataclass(frozen=True)
class Source:
    """One repository of the hub, the files that are wanted of it, and where they go.

    key: its name in `models.lock`. folder: below the models folder, "." = that folder itself. wanted, unwanted:
    patterns of paths in the repository. required: the path without which nothing works. gated: the hub gives it only
    to those who accepted the licence. in_all: whether it comes with `all`; False = it takes another model's place, or
    is a few-step LoRA. use: the setting that makes a service use it, where its own default does not.
    """

    key: str
    repo: str
    folder: str
    wanted: tuple[str, ...]
    required: str
    licence: str
    gated: bool = False
    unwanted: tuple[str, ...] = ()
    revision: str = "main"
    in_all: bool = True
    use: str = ""

    def wants(self, path: str) -> bool:
        """Whether a file of the repository belongs to the checkpoint.

        Paths that are not plain never do.
        """
        if not is_plain(path) or not path.endswith(DATA_SUFFIXES):
            return False
        return any(fnmatch(path, pattern) for pattern in self.wanted) and not any(
            fnmatch(path, pattern) for pattern in self.unwanted
        )

    def path_in(self, models: Path, path: str) -> Path:
        """Where a file of the repository lies below the models folder."""
        return models / self.folder / path


def is_plain(path: str) -> bool:
    """Whether a path stays below its folder and is printable.

    Hidden names, backslashes, colons, control characters and names over 255 bytes are rejected.
    """
    parts = path.split("/")
    return (
        path.isprintable()
        and not set(path) & {"\\", ":"}
        and len(path) <= MAX_PATH_CHARACTERS
        and all(part and not part.startswith(".") and len(part.encode()) <= 255 for part in parts)
    )


def _diffusers_folder(*components: str) -> tuple[str, ...]:
    return ("model_index.json", *(f"{component}/*" for component in components))


INDEX = "model_index.json"
"""A file that every folder in diffusers layout has."""

_QWEN_EDIT_FOLDER = _diffusers_folder("processor", "scheduler", "text_encoder", "tokenizer", "transformer", "vae")
"""The components of both versions of Qwen-Image-Edit."""

_LIGHTNING = "Qwen-Image-Edit-2509/Qwen-Image-Edit-2509-Lightning-8steps-V1.0-bf16.safetensors"

FLUX_LICENCE = "FLUX.1 [dev] Non-Commercial License: no commercial use"

CATALOGUE = {
    source.key: source
    for source in (
        Source(
            key="ben2",
            repo="PramaLLC/BEN2",
            folder="BEN2",
            wanted=("model.safetensors", "config.json"),
            required="model.safetensors",
            licence="MIT",
        ),
        Source(
            key="qwen-image-edit",
            repo="Qwen/Qwen-Image-Edit-2509",
            folder="Qwen-Image-Edit-2509",
            wanted=_QWEN_EDIT_FOLDER,
            required=INDEX,
            licence="Apache-2.0",
        ),
        Source(
            key="qwen-image-edit-2511",
            repo="Qwen/Qwen-Image-Edit-2511",
            folder="Qwen-Image-Edit-2511",
            wanted=_QWEN_EDIT_FOLDER,
            required=INDEX,
            licence="Apache-2.0",
            in_all=False,
            use="IMGEDIT_QWEN_EDIT_FOLDER=Qwen-Image-Edit-2511",
        ),
        Source(
            key="qwen-lightning-lora",
            repo="lightx2v/Qwen-Image-Lightning",
            folder="Qwen-Image-Lightning",
            wanted=(_LIGHTNING,),
            required=_LIGHTNING,
            licence="Apache-2.0",
            in_all=False,
            use=f"IMGEDIT_QWEN_EDIT_LORA_FAST=Qwen-Image-Lightning/{_LIGHTNING}",
        ),
        Source(
            key="flux-turbo-lora",
            repo="alimama-creative/FLUX.1-Turbo-Alpha",
            folder="FLUX.1-Turbo-Alpha",
            wanted=("diffusion_pytorch_model.safetensors",),
            required="diffusion_pytorch_model.safetensors",
            licence=FLUX_LICENCE,
            in_all=False,
            use="IMGEDIT_FILL_LORA_FAST=FLUX.1-Turbo-Alpha/diffusion_pytorch_model.safetensors",
        ),
        Source(
            key="flux-fill",
            repo="black-forest-labs/FLUX.1-Fill-dev",
            folder="FLUX.1-Fill-dev",
            wanted=_diffusers_folder(
                "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "vae"
            ),
            required=INDEX,
            licence=FLUX_LICENCE,
            gated=True,
        ),
    )
}
"""The downloadable models by name, in the order of `all`: the gated one last."""


def gguf_source(file: str, repo: str = GGUF_REPO, revision: str = "main") -> Source:
    """One GGUF file of FLUX's transformer, in the models folder itself.

    `IMGEDIT_FILL_GGUF` looks there.
    """
    return Source(GGUF_KEY, repo, ".", (file,), file, FLUX_LICENCE, revision=revision)


def without_transformer_weights(flux: Source) -> Source:
    """The same folder without the transformer's weights, for use with a GGUF file."""
    return replace(flux, unwanted=(*flux.unwanted, "transformer/*.safetensors", "transformer/*.index.json"))


def without_weights(source: Source) -> Source:
    """The small files of the same repository: configurations and vocabularies."""
    return replace(source, unwanted=(*source.unwanted, "*.safetensors", "*.index.json"))


@dataclass(frozen=True)
class LockedFile:
    """A file as it was pulled. size: bytes. sha256: hex.

    sha256_from: `hub` = the hub states this SHA-256 and the downloaded bytes have it; `computed` = the hub states none
    for this file, it was computed from the downloaded bytes, whose git blob id (`git_sha1`) is the hub's; `converted` =
    the file was made here, by `imgedit models convert`.
    """

    size: int
    sha256: str
    sha256_from: Literal["hub", "computed", "converted"]
    git_sha1: str | None = None


@dataclass(frozen=True)
class LockedModel:
    """A model as it was pulled. revision: the commit. files: by path inside `folder`."""

    hub: str
    repo: str
    revision: str
    folder: str
    licence: str
    files: Mapping[str, LockedFile]


_ORIGINS = {"hub": "", "computed": "checksum computed when pulled", "converted": "converted here"}


def read_lock(models: Path) -> dict[str, LockedModel]:
    """The downloads recorded in `models`, by key; empty without a `models.lock`."""
    path = models / LOCK_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != LOCK_FORMAT:
            raise ModelDownloadError(f"{path}: format {content['format']} is not known, {LOCK_FORMAT} is")
        return {key: _locked_model(entry) for key, entry in content["models"].items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ModelDownloadError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelDownloadError(f"{path} is damaged ({str(error)!a}); delete it and pull again") from error


def _locked_model(entry: dict[str, Any]) -> LockedModel:
    files = {path: _locked_file(path, file) for path, file in entry["files"].items()}
    model = LockedModel(**{**entry, "files": files})
    texts = (model.hub, model.repo, model.revision, model.folder, model.licence)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("hub, repo, revision, folder and licence must be texts")
    if _leads_out(model.folder):
        raise ValueError(f"the folder {model.folder!r} is not one below this one")
    return model


def _leads_out(path: str) -> bool:
    return path.startswith("/") or ".." in PurePosixPath(path).parts


def _locked_file(path: str, entry: dict[str, Any]) -> LockedFile:
    file = LockedFile(**entry)
    if _leads_out(path):
        raise ValueError(f"the path {path!r} is not one below its folder")
    if type(file.size) is not int or not isinstance(file.sha256, str) or file.sha256_from not in _ORIGINS:
        raise ValueError(f"{path}: size, sha256 or sha256_from is not what `pull` writes")
    return file


def write_lock(models: Path, locked: Mapping[str, LockedModel]) -> None:
    """Write `models.lock`, keys sorted, in one step.

    A reader sees the old file or the new one.
    """
    content = {"format": LOCK_FORMAT, "models": {key: _as_json(model) for key, model in locked.items()}}
    scratch = models / f"{LOCK_NAME}.new"
    scratch.unlink(missing_ok=True)
    with scratch.open("x", encoding="utf-8") as file:  # a new file: never through a link
        file.write(json.dumps(content, indent=2, sort_keys=True) + "\n")
    scratch.replace(models / LOCK_NAME)


def _as_json(model: LockedModel) -> dict[str, Any]:
    entry = asdict(model)
    entry["files"] = {
        path: {name: value for name, value in file.items() if value is not None}
        for path, file in entry["files"].items()
    }
    return entry


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_sha1_of(path: Path) -> str:
    """The id that git gives to a file's content.

    SHA-1 over `blob <size>`, a zero byte, and the bytes.
    """
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def record_converted(models: Path, made: Mapping[Path, LockedFile]) -> list[str]:
    """Record converted files with the model whose folder holds them; return the keys.

    A file outside all recorded folders needs no record: `verify` does not look there.
    """
    locked = read_lock(models)
    changed = []
    for path, file in made.items():
        for key, model in locked.items():
            folder = (models / model.folder).resolve()
            if model.folder != "." and path.resolve().is_relative_to(folder):
                files = {**model.files, path.resolve().relative_to(folder).as_posix(): file}
                locked[key] = replace(model, files=files)
                changed.append(key)
    if changed:
        write_lock(models, locked)
    return sorted(set(changed))


State = Literal["OK", "CHANGED", "MISSING", "EXTRA"]


@dataclass(frozen=True)
class FileReport:
    """A finding of `verify`.

    path: below the models folder.
    """

    state: State
    path: str
    detail: str = ""


def verify(models: Path) -> Iterator[FileReport]:
    """Compare every file with `models.lock`, one report as each is done.

    EXTRA: a file in a model's folder that was not pulled and that a loader might read, or that can carry code.
    Raises `ModelDownloadError` where there is nothing to compare with.
    """
    locked = read_lock(models)
    if not locked:
        raise ModelDownloadError(
            f"{models} has no {LOCK_NAME}, so there is nothing to compare with. `imgedit models pull` writes it; "
            "when folders are copied from another machine, copy it too"
        )
    for _, model in sorted(locked.items()):
        for path, file in sorted(model.files.items()):
            name = (PurePosixPath(model.folder) / path).as_posix()
            yield _compared(models / name, name, file)
        yield from _extra(models, model)


def _compared(path: Path, name: str, file: LockedFile) -> FileReport:
    if not path.is_file():
        return FileReport("MISSING", name)
    size = path.stat().st_size
    if size != file.size:
        return FileReport("CHANGED", name, f"{size} bytes instead of {file.size}")
    if (found := sha256_of(path)) != file.sha256:
        return FileReport("CHANGED", name, f"SHA-256 {found} instead of {file.sha256}")
    return FileReport("OK", name, _ORIGINS[file.sha256_from])


def _extra(models: Path, model: LockedModel) -> Iterator[FileReport]:
    if model.folder == ".":  # one file beside the folders; what else lies there is not this model's
        return
    folder = models / model.folder
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_dir() or inside.as_posix() in model.files:
            continue
        name = (PurePosixPath(model.folder) / inside.as_posix()).as_posix()
        if path.suffix in CODE_SUFFIXES:
            yield FileReport("EXTRA", name, "can carry code; remove it")
        elif path.suffix in DATA_SUFFIXES:
            yield FileReport("EXTRA", name, f"not in {LOCK_NAME}; remove it")


def readable(size: int) -> str:
    """A size in bytes as people say it: 1.2 MB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def bytes_in(folder: Path) -> int:
    """The total size of the files in a folder; 0 without one."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
