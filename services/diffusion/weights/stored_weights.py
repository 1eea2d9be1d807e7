"""Compare a network's safetensors files with the network before reading the data.

transformers and diffusers only warn about missing and extra entries, and run on random numbers. Here every entry must
belong to the network, in a readable number format.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from services.common.faults import refuse_unfit, shortened

FORMATS = ("F32", "F16", "BF16", "F64")
"""Number formats of plain weights. Integers and 8-bit floats need scales, which these networks do not have."""

Ignored = Mapping[str, str]
"""Entries that a file may have beyond the network's, by the beginning of their names: why they are left out."""

log = logging.getLogger(__name__)


def check_network(cls: Any, folder: Path, ignored: Ignored) -> None:
    """Reject a folder whose weights are not exactly those of `cls`.

    Its `config.json` gives the sizes. Raises `ModelLoadError` with one line: the file or folder, the count and the
    first few of each kind of fault.
    """
    network = without_weights(cls, folder)
    files = files_of(network, folder)
    found = network_names(network, entries_of(files), sharded=len(files) > 1)
    for start, reason in ignored.items():
        if left_out := [name for name in found if name.startswith(start)]:
            log.info("%s: %d entries %s… are left out: %s", folder, len(left_out), start, reason)
            found = {name: entry for name, entry in found.items() if name not in left_out}
    path = files[0] if len(files) == 1 else folder
    refuse_unfit(path, cls.__name__, faults(found, network.state_dict(), tied(network)))


def without_weights(cls: Any, folder: Path) -> Any:
    """The network that the folder's configuration describes, on the meta device."""
    if issubclass(cls, ModelMixin):
        config = cls.load_config(str(folder), local_files_only=True)
        with init_empty_weights():
            return cls.from_config(config)
    config = cls.config_class.from_pretrained(str(folder), local_files_only=True)
    with torch.device("meta"):
        return cls(config)


def files_of(network: Any, folder: Path) -> list[Path]:
    """The safetensors files that the library would read.

    A single one, or index shards.
    """
    is_diffusers = isinstance(network, ModelMixin)
    single = folder / (DIFFUSERS_FILE if is_diffusers else TRANSFORMERS_FILE)
    index = folder / (DIFFUSERS_INDEX if is_diffusers else TRANSFORMERS_INDEX)
    if single.is_file() and index.is_file():
        raise ModelLoadError(f"{folder} holds both {single.name} and {index.name}; remove the one that is out of date")
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ModelLoadError(f"{folder} holds neither {single.name} nor {index.name}")
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


def network_names(network: Any, entries: Mapping[str, Entry], *, sharded: bool) -> dict[str, Entry]:
    """The entries under the network's names; old names are renamed as by the library."""
    if isinstance(network, ModelMixin):
        renamed = dict(entries)
        if not sharded:
            network._fix_state_dict_keys_on_load(renamed)
        return renamed
    conversions = get_model_conversion_mapping(network)
    converters = [entry for entry in conversions if isinstance(entry, WeightConverter)]
    renamings = [entry for entry in conversions if isinstance(entry, WeightRenaming)]
    wanted, prefix = network.state_dict(), network.base_model_prefix
    found: dict[str, Entry] = {}
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
    found: Mapping[str, Entry], wanted: Mapping[str, torch.Tensor], shared: Sequence[set[str]] = ()
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
            if wanted[name].is_floating_point() and found[name].dtype not in FORMATS
        ],
    }
