"""Downloading a model's files from the Hugging Face hub: only what is wanted, resumable, checked.

`hf_hub_download` throws a half-downloaded file away when the process ends, hours of work for files of 10 GB. So the
library lists the repository and moves the bytes (`http_get`), and the unfinished file is kept here, under the name of
its content, until it is whole and right. `huggingface_hub` is imported when it is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imgedit import __version__
from imgedit.errors import ModelDownloadError
from imgedit.models import (
    LockedFile,
    LockedModel,
    Source,
    git_sha1_of,
    read_lock,
    readable,
    sha256_of,
    write_lock,
)

PARTIAL_FOLDER = ".incomplete"
"""Below the models folder: what has not been downloaded to its end."""

CONNECT_SECONDS = 30.0
"""Longest wait for the hub to say anything at all."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class HubFile:
    """A file as the hub describes it. sha256: stated for large files only; git_sha1: the blob id otherwise."""

    path: str
    size: int
    sha256: str | None
    git_sha1: str

    @property
    def identity(self) -> str:
        """The strongest digest that the hub states."""
        return self.sha256 or self.git_sha1

    def identity_of(self, path: Path) -> str:
        """The same digest of a file here."""
        return sha256_of(path) if self.sha256 else git_sha1_of(path)

    def is_at(self, path: Path) -> bool:
        """Whether the file here has the hub's bytes."""
        return path.is_file() and path.stat().st_size == self.size and self.identity_of(path) == self.identity

    def locked(self, path: Path) -> LockedFile:
        """What to record of the checked file here."""
        if self.sha256:
            return LockedFile(self.size, self.sha256, "hub")
        return LockedFile(self.size, sha256_of(path), "computed", self.git_sha1)


def pull(source: Source, models: Path, *, endpoint: str, say: Say) -> LockedModel:
    """Bring the wanted files of `source` below `models` and record them in `models.lock`; returns the record.

    Files that are there and right are not transferred again; wrong ones are replaced. `say` is told each step. Raises
    `ModelDownloadError` saying what to do; what was downloaded until then is kept.
    """
    _check_library()
    with _explained(source, endpoint), _alone(models):
        commit, listing = _listing(source, endpoint)
        wanted = [file for file in listing if source.wants(file.path)]
        _check_listing(source, listing, wanted)
        say(f"{source.repo} at {commit}")
        missing = [file for file in wanted if not file.is_at(source.path_in(models, file.path))]
        _check_space(models, missing)
        for file in wanted:
            if file not in missing:
                say(f"{file.path}: already there")
        for number, file in enumerate(missing, start=1):
            say(f"{file.path}: {number} of {len(missing)}, {readable(file.size)}")
            _download(source, commit, file, models, endpoint)
        return _record(source, commit, wanted, models, endpoint)


def _check_library() -> None:
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise ModelDownloadError("pulling models needs huggingface_hub: pip install 'imgedit[models]'") from error


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


def _listing(source: Source, endpoint: str) -> tuple[str, list[HubFile]]:
    """The commit that the revision stands for, and its files."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=endpoint, library_name="imgedit", library_version=__version__)
    commit = api.model_info(source.repo, revision=source.revision, timeout=CONNECT_SECONDS).sha
    if not commit:
        raise ModelDownloadError(f"{endpoint} names no commit for {source.repo}; is it a Hugging Face hub?")
    entries = api.list_repo_tree(source.repo, recursive=True, revision=commit)
    files = [
        HubFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
        for entry in entries
        if isinstance(entry, RepoFile)
    ]
    return commit, sorted(files, key=lambda file: file.path)


def _check_listing(source: Source, listing: list[HubFile], wanted: list[HubFile]) -> None:
    if source.required in (file.path for file in wanted):
        return
    suffix = Path(source.required).suffix
    alike = ", ".join(file.path for file in listing if file.path.endswith(suffix)) or "none"
    raise ModelDownloadError(
        f"{source.repo} at {source.revision} has no {source.required} (its {suffix} files: {alike}); "
        "check the repository, the revision and the file's name"
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
    """How many bytes of the file are here; 0 when what is here cannot be its beginning."""
    size = partial.stat().st_size if partial.is_file() else 0
    return size if size <= file.size else 0


def _download(source: Source, commit: str, file: HubFile, models: Path, endpoint: str) -> None:
    """Continue or begin the download of one file; it takes its place only when its bytes are the hub's."""
    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.file_download import http_get

    partial, target = _partial(models, file), source.path_in(models, file.path)
    partial.parent.mkdir(exist_ok=True)
    done = _resume_size(partial, file)
    # A compressed answer has other offsets, so that it could not be resumed.
    headers = {"User-Agent": f"imgedit/{__version__}", "Accept-Encoding": "identity"}
    if token := get_token():
        headers["Authorization"] = f"Bearer {token}"
    with partial.open("ab" if done else "wb") as output:
        http_get(
            hf_hub_url(source.repo, file.path, revision=commit, endpoint=endpoint),
            output,
            resume_size=done,
            headers=headers,
            expected_size=file.size,
            displayed_filename=file.path,
        )
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
    """Write the record; files of the same commit that an earlier pull brought stay in it."""
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
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelDownloadError(_gated(source, endpoint)) from error
    except errors.RevisionNotFoundError as error:
        raise ModelDownloadError(f"{source.repo} has no revision {source.revision}; check --revision") from error
    except errors.HfHubHTTPError as error:
        raise ModelDownloadError(_refused(source, endpoint, error.response.status_code)) from error
    except errors.HFValidationError as error:
        raise ModelDownloadError(f"{source.repo} is no repository's address; OWNER/NAME is expected") from error
    except (KeyError, ValueError) as error:
        raise ModelDownloadError(
            f"{endpoint} does not answer as a Hugging Face hub does ({error}); check --endpoint, and whether a proxy "
            "answers in its place"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise ModelDownloadError(f"HF_HUB_OFFLINE is set, so nothing is downloaded; unset it, or {_BY_HAND}") from error
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        raise ModelDownloadError(
            f"cannot reach {endpoint} ({error}). Check the connection and proxy settings; without internet, {_BY_HAND}"
        ) from error
    except (httpx2.HTTPError, OSError) as error:
        what = str(error) or type(error).__name__
        raise ModelDownloadError(
            f"the download from {source.repo} broke off: {what}. What was downloaded is kept: pull again to continue"
        ) from error


_BY_HAND = (
    "pull on a machine that has it, copy the model's folder and models.lock by hand, then run `imgedit models verify`"
)


def _gated(source: Source, endpoint: str) -> str:
    return (
        f"{source.repo} is gated: accept its licence on {endpoint}/{source.repo}, make an access token on "
        f"{endpoint}/settings/tokens, set HF_TOKEN to it and pull again"
    )


def _refused(source: Source, endpoint: str, status: int) -> str:
    """What an HTTP status means for someone who wants a model."""
    match status:
        case 401 | 403 if source.gated:
            return _gated(source, endpoint)
        case 401:
            return (
                f"{endpoint} asks for a login for {source.repo} (401): check the repository's address, or, for a "
                "private one, set HF_TOKEN to a valid access token"
            )
        case 403:
            return f"the access token may not read {source.repo} (403); give it read access on {endpoint}"
        case 404:
            return f"{endpoint} has no such file or repository in {source.repo} (404); check --repo and --endpoint"
        case 429:
            return f"{endpoint} asks for fewer requests (429); wait some minutes and pull again to continue"
        case _:
            return f"{endpoint} answered with HTTP status {status} for {source.repo}; pull again later to continue"
