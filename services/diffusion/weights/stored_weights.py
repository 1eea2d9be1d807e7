"""Compare a network's safetensors files with the network before reading the data.

transformers and diffusers only warn about entries that are missing or left over, and run on random numbers. Here every
entry must be the network's own, in a number format that it can be read from. A file has the names of the library's
modules, older ones of the library's, or those of the original layout. Knows the two libraries, and no model.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import init_empty_weights
from diffusers import ModelMixin
from diffusers.utils import SAFE_WEIGHTS_INDEX_NAME as DIFFUSERS_INDEX
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME as DIFFUSERS_FILE
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME as TRANSFORMERS_INDEX
from transformers.utils import SAFE_WEIGHTS_NAME as TRANSFORMERS_FILE

from imgedit.errors import ModelLoadError
from imgedit.weights.safetensors_header import Entry, read_header
from services.common.weights_faults import refuse_unfit, shortened
from services.diffusion.weights import fp8
from services.diffusion.weights.original_names import Layout, joined_shape, prefix_of, shapes_of

FORMATS = ("F32", "F16", "BF16", "F64")
"""Number formats of plain weights. Integers need scales of other kinds, which these networks do not have."""

Ignored = Mapping[str, str]
"""Entries that a file may have beyond the network's, by the beginning of their names: why they are left out."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredNetwork:
    """A network without weights, and the files that hold exactly its weights.

    entries: in all files. files: entry → its file. parts: entry → the parameters that its rows make up, in order.
    swapped: entries with the halves of their rows in the opposite order. scales: entry → the entry of its scale.
    """

    network: Any
    folder: Path
    entries: Mapping[str, Entry]
    files: Mapping[str, Path]
    parts: Mapping[str, tuple[str, ...]]
    swapped: frozenset[str]
    scales: Mapping[str, str]

    @property
    def nbytes(self) -> int:
        """Bytes of the weights as they are stored."""
        return sum(self.entries[name].nbytes for name in self.parts)

    @property
    def in_8_bits(self) -> frozenset[str]:
        """The parameters that are stored as 8-bit floats."""
        stored = (parts for name, parts in self.parts.items() if self.entries[name].dtype == fp8.FORMAT)
        return frozenset(part for parts in stored for part in parts)


@dataclass(frozen=True)
class _Naming:
    """The names by which the entries of files are judged.

    found: name → entry. wanted: name → a tensor of the shape that it must have. parts: name → the parameters that its
    rows make up. shared: see `tied`.
    """

    found: Mapping[str, str]
    wanted: Mapping[str, torch.Tensor]
    parts: Mapping[str, tuple[str, ...]]
    shared: Sequence[set[str]] = ()
    halves_swapped: tuple[str, ...] = ()


def check_network(
    cls: Any, folder: Path, ignored: Ignored, dtype: torch.dtype = torch.float32, layout: Layout | None = None
) -> StoredNetwork:
    """The folder's network, if its weights match `cls` and its `config.json` exactly.

    dtype: the network's number format. layout: the names of the original layout, which the files may have as well.
    Raises `ModelLoadError` with one line: the file or folder, the count and the first few of each kind of fault.
    """
    network = without_weights(cls, folder, dtype)
    paths = files_of(network, folder)
    entries = entries_of(paths)
    files = {name: path for path in paths for name in read_header(path)} if len(paths) > 1 else {}
    files = files or dict.fromkeys(entries, paths[0])
    plain, scales, descriptions = fp8.take_apart(entries)
    for path in paths:
        fp8.check_descriptions(path, [name for name in descriptions if files[name] == path])
    naming = _naming(network, plain, layout, sharded=len(paths) > 1, config=folder / "config.json", path=paths[0])
    found = naming.found
    for start, reason in ignored.items():
        if left_out := [name for name in found if name.startswith(start)]:
            log.info("%s: %d entries %s… are left out: %s", folder, len(left_out), start, reason)
            found = {name: entry for name, entry in found.items() if name not in left_out}
    judged = {name: _trimmed(plain[entry], naming.wanted.get(name)) for name, entry in found.items()}
    listed = faults(judged, naming.wanted, naming.shared, (*FORMATS, fp8.FORMAT))
    listed["no scales of 8-bit matrices"] = fp8.misfits(entries, scales)
    refuse_unfit(paths[0] if len(paths) == 1 else folder, cls.__name__, listed)
    swapped = {entry for name, entry in found.items() if name.startswith(naming.halves_swapped)}
    parts = {entry: naming.parts[name] for name, entry in found.items()}
    return StoredNetwork(network, folder, entries, files, parts, frozenset(swapped), scales)


def _naming(
    network: Any, names: Iterable[str], layout: Layout | None, *, sharded: bool, config: Path, path: Path
) -> _Naming:
    """The library's names, or the original layout's if more entries match those."""
    state = network.state_dict()
    own = network_names(network, {name: name for name in names}, sharded=sharded)
    if layout is not None:
        prefix = prefix_of(names)
        found = {name.removeprefix(prefix): name for name in names}
        for marker, key in layout.markers.items():
            if found.pop(marker, None) is not None and not network.config.get(key):
                raise ModelLoadError(f"{path}: of another version than {config}: the configuration lacks {key!r}")
            own.pop(marker, None)
        shapes = shapes_of(network)
        table = layout.names(network.config, shapes)
        if len(found.keys() & table.keys()) > len(own.keys() & state.keys()):
            wanted = {name: torch.empty(joined_shape(parts, shapes), device="meta") for name, parts in table.items()}
            return _Naming(found, wanted, table, halves_swapped=layout.halves_swapped)
    return _Naming(own, state, {name: (name,) for name in state}, tied(network))


def _trimmed(entry: Entry, wanted: torch.Tensor | None) -> Entry:
    """The entry without the trailing 1x1 of a convolution, if a matrix is wanted."""
    if wanted is None or wanted.ndim != 2 or entry.shape[2:] != (1, 1):
        return entry
    return replace(entry, shape=entry.shape[:2])


def without_weights(cls: Any, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The network of the folder's configuration, with parameters on the meta device."""
    with init_empty_weights():
        if issubclass(cls, ModelMixin):
            return cls.from_config(cls.load_config(str(folder), local_files_only=True))
        return cls._from_config(cls.config_class.from_pretrained(str(folder), local_files_only=True), dtype=dtype)


def files_of(network: Any, folder: Path) -> list[Path]:
    """The folder's safetensors files: a single one of any name, or an index's shards."""
    is_diffusers = isinstance(network, ModelMixin)
    single = folder / (DIFFUSERS_FILE if is_diffusers else TRANSFORMERS_FILE)
    index = folder / (DIFFUSERS_INDEX if is_diffusers else TRANSFORMERS_INDEX)
    if single.is_file() and index.is_file():
        raise ModelLoadError(f"{folder} holds both {single.name} and {index.name}; remove the one that is out of date")
    if single.is_file():
        return [single]
    if not index.is_file():
        others = sorted(folder.glob("*.safetensors"))
        if len(others) == 1:
            return others
        more = f", and {len(others)} other safetensors files, of which one is expected" if others else ""
        raise ModelLoadError(f"{folder} holds neither {single.name} nor {index.name}{more}")
    shards = [folder / name for name in sorted(_shards(index))]
    if absent := [path.name for path in shards if not path.is_file()]:
        raise ModelLoadError(f"{index}: {len(absent)} of {len(shards)} files are missing ({shortened(absent)})")
    return shards


def _shards(index: Path) -> set[str]:
    """The file names in an index; none of them leaves the folder."""
    try:
        mapped = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = set(mapped.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(f"{index}: not an index of safetensors files") from error
    if not shards or not all(isinstance(name, str) and Path(name).name == name for name in shards):
        raise ModelLoadError(f"{index}: names something else than files beside it")
    return shards


def entries_of(files: Iterable[Path]) -> dict[str, Entry]:
    """The entries of all files by name.

    Raises `ModelLoadError` for a damaged file or a duplicate name.
    """
    found: dict[str, Entry] = {}
    for path in files:
        entries = read_header(path)
        if twice := sorted(found.keys() & entries.keys()):
            raise ModelLoadError(f"{path}: {len(twice)} entries are in another file too ({shortened(twice)})")
        found |= entries
    return found


N = TypeVar("N")


def network_names(network: Any, entries: Mapping[str, N], *, sharded: bool) -> dict[str, N]:
    """The entries under the network's names.

    Older names are converted as the library does on loading.
    """
    if isinstance(network, ModelMixin):
        renamed = dict(entries)
        if not sharded:
            network._fix_state_dict_keys_on_load(renamed)
        return renamed
    conversions = get_model_conversion_mapping(network)
    converters = [entry for entry in conversions if isinstance(entry, WeightConverter)]
    renamings = [entry for entry in conversions if isinstance(entry, WeightRenaming)]
    wanted, prefix = network.state_dict(), network.base_model_prefix
    found: dict[str, N] = {}
    for name, entry in entries.items():
        own, _ = rename_source_key(name, renamings, converters, prefix, wanted)
        if own not in wanted and name in wanted:
            own = name
        found[f"{name} (twice)" if own in found else own] = entry
    return found


def tied(network: Any) -> list[set[str]]:
    """Groups of names that share one tensor: a file needs one of each group."""
    groups: dict[str, set[str]] = {}
    for name, source in getattr(network, "all_tied_weights_keys", {}).items():
        groups.setdefault(source, {source}).add(name)
    return list(groups.values())


def faults(
    found: Mapping[str, Entry],
    wanted: Mapping[str, torch.Tensor],
    shared: Sequence[set[str]] = (),
    formats: Sequence[str] = FORMATS,
) -> dict[str, list[str]]:
    """The misfits of the entries, by kind of fault, each described with its name.

    shared: see `tied`.
    """
    given = {name for group in shared if group & found.keys() for name in group}
    both = [name for name in wanted if name in found]
    return {
        "missing": [repr(name) for name in wanted if name not in found and name not in given],
        "surplus": [repr(name[:80]) for name in found if name not in wanted],
        "misshapen": [
            f"{name!r} is {list(found[name].shape)} instead of {list(wanted[name].shape)}"
            for name in both
            if found[name].shape != tuple(wanted[name].shape)
        ],
        "in a foreign number format": [
            f"{name!r} is {found[name].dtype}"
            for name in both
            if wanted[name].is_floating_point() and found[name].dtype not in formats
        ],
    }
