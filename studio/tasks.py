"""The tasks: one tile per feature, which selects its experiment and feature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from imgedit.v1 import edit_pb2
from studio import components
from studio.text import Words

ICONS = {
    "inpainting": "wallpaper",
    "outpainting": "open_in_full",
    "appearance_editing": "palette",
    "semantic_editing": "category",
    "text_editing": "title",
    "multi_image_editing": "photo_library",
    "background_removal": "content_cut",
}
ICON = "auto_fix_high"
"""The icon of other features."""


def draw_tasks(words: Words, offered: Sequence[edit_pb2.Experiment]) -> None:
    """All tasks, with the selected one marked."""
    chosen = _chosen(offered)
    tiles = {f"{one.id}/{feature.id}": (one, feature) for one in offered for feature in one.features}
    names = Counter(task_name(words, feature) for _, feature in tiles.values())
    items = []
    for id, (experiment, feature) in tiles.items():
        name = task_name(words, feature)
        title = f"{name} ({experiment.name})"
        caption = name if names[name] == 1 else title
        icon = ICONS.get(feature.id, ICON)
        items.append(components.Item(id, None, title, caption, chosen=id == chosen, icon=icon))
    picked = components.gallery(items, label=words("tasks"), key="tasks", side="9.5rem")
    if picked in tiles and picked != chosen:
        experiment, feature = tiles[picked]
        st.session_state["experiment"] = experiment.id
        st.session_state[feature_key(experiment)] = feature.id
        st.rerun()


def task_name(words: Words, feature: edit_pb2.Feature) -> str:
    """The feature's task in the page's language, else its name."""
    return str(feature.task.get(words.language, "")) or feature_name(words, feature)


def feature_name(words: Words, feature: edit_pb2.Feature) -> str:
    """The catalogue's own name in Korean; in English the table's, if it has one."""
    found = words.named("name", feature.id)
    return feature.name if words.language == "ko" or found == feature.id else found


def feature_key(experiment: edit_pb2.Experiment) -> str:
    """The key of the widget that selects a feature."""
    return f"feature-{experiment.id}"


def _chosen(offered: Sequence[edit_pb2.Experiment]) -> str:
    """The selection of the widgets below, else the first feature."""
    by_id = {experiment.id: experiment for experiment in offered}
    experiment = by_id.get(str(st.session_state.get("experiment")), offered[0])
    features = [feature.id for feature in experiment.features]
    feature = st.session_state.get(feature_key(experiment))
    return f"{experiment.id}/{feature if feature in features else features[0]}"
