"""Main memory: what a container may have is less than what its machine has."""

from pathlib import Path

import pytest

from imgedit.local.host_memory import HostMemory, host_memory

GIB = 1024**3
STAT = f"anon 5\nactive_file {GIB}\ninactive_file {GIB}\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    folder.mkdir()
    lines = (f"MemTotal: {64 * 1024**2} kB", f"MemAvailable: {60 * 1024**2} kB", "HugePages_Total: 0")
    (folder / "meminfo").write_text("\n".join(lines))
    return folder


def group(folder: Path, limit: str, names: tuple[str, str, str]) -> Path:
    for name, text in zip(names, (limit, str(5 * GIB), STAT), strict=True):
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "groups"


TWO = ("memory.max", "memory.current", "memory.stat")
ONE = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat")


@pytest.mark.parametrize("names", [TWO, ONE])
def test_a_containers_limit_counts_without_the_files_that_it_could_drop(
    names: tuple[str, str, str], proc: Path, tmp_path: Path
) -> None:
    assert host_memory(proc, group(tmp_path, str(8 * GIB), names)) == HostMemory(8 * GIB, 5 * GIB)


@pytest.mark.parametrize(("limit", "names"), [("max\n", TWO), (str(2**63 - 4096), ONE)])
def test_without_a_limit_it_is_the_machines(
    limit: str, names: tuple[str, str, str], proc: Path, tmp_path: Path
) -> None:
    assert host_memory(proc, group(tmp_path, limit, names)) == HostMemory(64 * GIB, 60 * GIB)


def test_without_a_group_it_is_the_machines_and_without_linux_unknown(proc: Path, tmp_path: Path) -> None:
    assert host_memory(proc, tmp_path) == HostMemory(64 * GIB, 60 * GIB)
    assert host_memory(tmp_path, tmp_path) is None
