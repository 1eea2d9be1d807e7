"""Downloading a model's files from the Hugging Face hub.

Only what is wanted, resumable, checked.

`imgedit.weights.hub` speaks to the hub and checks its answers. An unfinished file is kept here under the digest of its
content until it is whole and right. Nothing is written through symbolic links.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from imgedit import installation
from imgedit.errors import HubUnavailable, ModelDownloadError
from imgedit.weights.hub import Hub, HubFile, quoted
from imgedit.weights.model_registry import LockedModel, Source, is_plain, read_lock, readable, write_lock

PARTIAL_FOLDER = ".incomplete"
"""Below the models folder: what has not been downloaded to its end."""

LIBRARY = "huggingface_hub>=2.4"
"""The package that the extra `models` installs."""

Say = Callable[[str], None]


def pull(source: Source, models: Path, *, endpoint: str, say: Say, send_token: bool = False) -> LockedModel:
    """Download the wanted files of `source` and record them in `models.lock`.

    Returns the record. Correct files are not downloaded again; wrong ones are replaced. `say` receives each step. The
    access token goes to https://huggingface.co, elsewhere only with `send_token`. Raises `ModelDownloadError` with
    advice; partial downloads are kept.
    """
    _check_library()
    with _explained(source, endpoint), Hub(endpoint, send_token=send_token) as hub, _alone(models):
        _check_address(source)
        if hub.withholds_token:
            say(f"HF_TOKEN is not sent to {hub.endpoint}; --send-token sends it")
        commit, listing = hub.listing(source)
        wanted = [file for file in listing if source.wants(file.path)]
        _check_listing(source, listing, wanted)
        say(f"{source.repo} at {commit}")
        missing = [file for file in wanted if not file.is_at(source.path_in(models, file.path))]
        _check_places(source, models, missing)
        _check_space(models, missing)
        for file in wanted:
            if file not in missing:
                say(f"{file.path}: already there")
        for number, file in enumerate(missing, start=1):
            say(f"{file.path}: {number} of {len(missing)}, {readable(file.size)}")
            _download(source, commit, file, models, hub)
        return _record(source, commit, wanted, models, hub.endpoint)


def _check_library() -> None:
    try:
        from huggingface_hub import constants
    except ImportError as error:
        how = installation.to_install("models") if installation.has_servers() else f"pip install '{LIBRARY}'"
        raise ModelDownloadError(
            f"pulling models needs huggingface_hub; {how}",
            korean=f"모델을 받으려면 huggingface_hub가 필요합니다. 설치: {how}",
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise ModelDownloadError(f"HF_HUB_OFFLINE is set, so nothing is downloaded; unset it, or {_BY_HAND}")


def _check_address(source: Source) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(source.repo)
    except HFValidationError as error:
        raise ModelDownloadError(f"{source.repo} is not a repository's address; expected OWNER/NAME") from error


@contextlib.contextmanager
def _alone(models: Path) -> Iterator[None]:
    """Hold the models folder, so that two pulls do not write the same files."""
    models.mkdir(parents=True, exist_ok=True)
    handle = os.open(models, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ModelDownloadError(f"another pull into {models} is running; wait for its end") from error
    finally:
        os.close(handle)


def _check_listing(source: Source, listing: list[HubFile], wanted: list[HubFile]) -> None:
    if source.required in (file.path for file in wanted):
        return
    suffix = Path(source.required).suffix
    alike = ", ".join(file.path for file in listing if is_plain(file.path) and file.path.endswith(suffix)) or "none"
    raise ModelDownloadError(
        f"{source.repo} at {source.revision} has no {source.required} (its {suffix} files: {alike}); "
        "check the repository, the revision and the file's name"
    )


def _check_places(source: Source, models: Path, missing: list[HubFile]) -> None:
    """Refuse to write through a link, whose target may be any folder of this machine."""
    folders = {models / PARTIAL_FOLDER}
    for file in missing:
        inside = source.path_in(models, file.path).relative_to(models).parents
        folders |= {models / folder for folder in inside if folder.parts}
    for folder in sorted(folders):
        if folder.is_symlink():
            raise ModelDownloadError(
                f"{folder} is a symbolic link, and nothing is written through links; put a folder in its place, or "
                "name the folder that holds the models by --models"
            )


def _check_space(models: Path, missing: list[HubFile]) -> None:
    needed = sum(file.size - _resume_size(_partial(models, file), file) for file in missing)
    free = shutil.disk_usage(models).free
    if needed > free:
        raise ModelDownloadError(
            f"{models} has {readable(free)} free, {readable(needed)} are needed; make room or choose another DIR"
        )


def _partial(models: Path, file: HubFile) -> Path:
    return models / PARTIAL_FOLDER / file.identity


def _resume_size(partial: Path, file: HubFile) -> int:
    """How many bytes of the file are here.

    0 when what is here cannot be its beginning.
    """
    try:
        status = partial.lstat()
    except FileNotFoundError:
        return 0
    is_own = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    return status.st_size if is_own and status.st_size <= file.size else 0


def _open_partial(partial: Path, file: HubFile) -> BinaryIO:
    """The unfinished file, at its end.

    A new one where there is none, or none that can be continued.
    """
    done = _resume_size(partial, file)
    if not done:
        partial.unlink(missing_ok=True)
    output = partial.open("r+b" if done else "xb")
    output.seek(done)
    return output


def _download(source: Source, commit: str, file: HubFile, models: Path, hub: Hub) -> None:
    """Continue or begin the download of one file.

    It takes its place only when its bytes are the hub's.
    """
    partial, target = _partial(models, file), source.path_in(models, file.path)
    partial.parent.mkdir(exist_ok=True)
    with _open_partial(partial, file) as output:
        hub.transfer(source, commit, file, output)
    if (found := file.identity_of(partial)) != file.identity:
        partial.unlink()
        digest = "SHA-256" if file.sha256 else "git blob id"
        raise ModelDownloadError(
            f"{file.path} of {source.repo}: the downloaded bytes have the {digest} {found}, the hub states "
            f"{file.identity}. They were deleted; pull again, and if it happens again do not trust the connection"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)


def _record(source: Source, commit: str, wanted: list[HubFile], models: Path, endpoint: str) -> LockedModel:
    """Write the record, keeping files of the same commit from an earlier download."""
    lock = read_lock(models)
    files = {file.path: file.locked(source.path_in(models, file.path)) for file in wanted}
    old = lock.get(source.key)
    if old and (old.repo, old.revision) == (source.repo, commit):
        files = {path: file for path, file in old.files.items() if source.path_in(models, path).is_file()} | files
    lock[source.key] = LockedModel(
        hub=endpoint,
        repo=source.repo,
        revision=commit,
        folder=source.folder,
        licence=source.licence,
        files=files,
    )
    write_lock(models, lock)
    return lock[source.key]


@contextlib.contextmanager
def _explained(source: Source, endpoint: str) -> Iterator[None]:
    """Turn what the library raises into one sentence on what is wrong and what to do."""
    import httpx2

    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        raise HubUnavailable(
            f"cannot reach {endpoint} ({error}). Check the connection and proxy settings; without internet, {_BY_HAND}"
        ) from error
    except httpx2.HTTPError as error:
        what = quoted(str(error) or type(error).__name__)
        raise HubUnavailable(
            f"the download from {source.repo} broke off: {what}. Downloaded data is kept: pull again to continue"
        ) from error
    except OSError as error:
        raise ModelDownloadError(
            f"{error.filename or source.repo}: {error.strerror or error}. Downloaded data is kept: pull again to "
            "continue"
        ) from error


_BY_HAND = (
    "pull on a machine that has it, copy the model's folder and models.lock by hand, then run `imgedit models verify`"
)
