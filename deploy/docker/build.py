"""`python -m deploy.docker.build [TARGET …]`: build the container images.

Uses docker, podman or buildah, and prints the name of each image. Base images are pulled; `--bases make` makes them
from Debian packages (root, debootstrap), for tests without a registry. podman and buildah use this machine's
configuration of pip. Logs are in build/images. Needs no package beside Python.
"""

from __future__ import annotations

import argparse
import re
import sys

from deploy.docker import base_images, host_pip
from deploy.docker.base_images import DOCKERFILE, ROOT, Bases
from deploy.docker.engine import PROGRAMS, Engine, EngineError, find

FOLDER = ROOT / "build" / "images"

TARGETS = ("orchestrator", "segmentation", "fill", "qwen-edit", "openai-api", "studio", "models", "demo-models")

MAKES: dict[str, bool | None] = {"auto": None, "pull": False, "make": True}


def main() -> int:
    """Build the images that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)}; without one, all")
    parser.add_argument("--tag", default="demo", help="tag of the images (demo)")
    parser.add_argument("--engine", choices=PROGRAMS, help="the engine; without it, the first that answers")
    parser.add_argument("--bases", choices=MAKES, default="pull", help="auto: make what cannot be pulled (pull)")
    parser.add_argument("--torch-index", default="", metavar="URL", help="index of torch, such as that of CPU builds")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; targets: {', '.join(TARGETS)}")
    try:
        engine = find(FOLDER, options.engine)
        bases = base_images.provide(engine, FOLDER / "bases", make=MAKES[options.bases])
        for target in options.targets or TARGETS:
            print(build(engine, bases, target, options.tag, torch_index=options.torch_index), flush=True)
    except EngineError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


def build(engine: Engine, bases: Bases, target: str, tag: str, *, torch_index: str = "") -> str:
    """Build one image; its name. Raises `EngineError`."""
    name = f"{'localhost/' if engine.program != 'docker' else ''}imgedit-{target}:{tag}"
    options = ["--file", str(DOCKERFILE), "--target", target, "--tag", name, *bases.build_args()]
    if torch_index:
        options += ["--build-arg", f"TORCH_INDEX={torch_index}"]
    engine.build(ROOT, *options, *_pip_options(engine), log=FOLDER / f"{target}.log")
    return name


def _pip_options(engine: Engine) -> list[str]:
    """Mounts that give a build the pip configuration of this machine."""
    values = host_pip.configuration()
    mounts = engine.build_mounts(host_pip.mounts(values))
    if not values or engine.program == "docker":
        return mounts
    path = FOLDER / "pip.conf"
    path.write_text(host_pip.pip_conf(values), encoding="utf-8")
    return [*mounts, f"--volume={path}:/etc/pip.conf:ro"]


def targets_of_dockerfile() -> list[str]:
    """Stages that no other stage starts from or copies from."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    stages = re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
    used = set(re.findall(r"^FROM (\S+) AS", text, re.MULTILINE)) | set(re.findall(r"--from=(\S+)", text))
    return [stage for stage in stages if stage not in used]


if __name__ == "__main__":
    sys.exit(main())
