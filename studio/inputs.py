"""The input images: uploads, samples, an earlier result, and references.

Uploads may have any extension: the content decides.
"""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from imgedit.errors import ImgeditError
from studio import components, errors, fields
from studio.catalogue import Form, configuration, samples
from studio.input_images import InputImage
from studio.session import Session
from studio.text import Words, plain


def draw_inputs(words: Words, session: Session, form: Form) -> list[InputImage]:
    """The uploader, the samples and the choice; returns the images to edit."""
    form.take("input_image")
    st.header(words("picture"), anchor=False)
    uploads = st.file_uploader(
        words("upload"),
        accept_multiple_files=True,
        help=words("upload.help"),
        key=f"upload-{session.upload_round}",
        label_visibility="collapsed",
    )
    if uploads:
        session.chosen = []
    else:
        _samples(words, session)
    found = _chosen(words, session) if session.chosen else _uploaded(words, session, uploads)
    session.hold(found)
    if len(found) > 1:
        st.info(words("batch.many", count=len(found)), icon=":material/photo_library:")
    elif found:
        _now(words, session, found[0])
    return found


def _now(words: Words, session: Session, picture: InputImage) -> None:
    """The image to edit, and the way back from a result to its original."""
    with st.container(horizontal=True, vertical_alignment="center", key="input-now"):
        with st.container(width=112, key="input-thumb"):
            components.still(picture.thumb, alt=words("picture.alt"), key="input-still")
        size = words("picture.size", width=picture.width, height=picture.height, kind=picture.kind)
        with st.container(gap=None, key="input-text"):
            st.caption(f"{plain(picture.name)}  \n{size}")
            if picture.original and st.button(
                words("picture.back"), type="tertiary", icon=":material/undo:", key="original"
            ):
                session.choose(picture.original)
                st.rerun()
            if st.button(words("crop"), type="tertiary", icon=":material/crop_rotate:", key="crop"):
                session.is_cropping = not session.is_cropping
    if picture.reduced_from:
        width, height = picture.reduced_from
        st.caption(f":material/info: {words('picture.reduced', width=width, height=height)}")


def _uploaded(words: Words, session: Session, uploads: list[UploadedFile]) -> list[InputImage]:
    limit = configuration().max_files
    if len(uploads) > limit:
        st.warning(words("batch.too_many", max=limit, count=len(uploads)), icon=":material/photo_library:")
    found = []
    for upload in uploads[:limit]:
        picture = session.opened(upload)
        if isinstance(picture, ImgeditError):
            errors.show_error(words, picture, title=plain(upload.name))
        else:
            found.append(picture)
    return found


def _samples(words: Words, session: Session) -> None:
    offered = samples()
    if not offered:
        return
    st.caption(words("samples"))
    items = [
        components.Item(
            name,
            picture.thumb,
            words("samples.pick", name=name),
            chosen=session.chosen == [picture],
        )
        for name, picture in offered.items()
    ]
    picked = components.gallery(items, label=words("samples"), key="samples", side="4.6rem")
    if picked in offered and session.chosen != [offered[picked]]:
        session.chosen = [offered[picked]]
        st.rerun()


def _chosen(words: Words, session: Session) -> list[InputImage]:
    if st.button(words("picture.remove"), type="tertiary", icon=":material/close:", key="remove"):
        session.choose(None)
        st.rerun()
    return session.chosen


def draw_references(words: Words, session: Session, form: Form, options: dict[str, Any]) -> None:
    """Reference images, if the feature takes them."""
    spec = form.take("reference_images")
    if spec is None:
        return
    most = spec.count.max
    st.header(words("references"), anchor=False)
    uploads = st.file_uploader(
        words("references.upload", max=most),
        accept_multiple_files=True,
        help=fields.help_of(words, spec),
        key=form.key("references"),
    )
    if len(uploads) > most:
        st.warning(words("references.too_many", max=most))
    if uploads:
        session.kept_references = []
    found = _kept_references(words, session) if session.kept_references else []
    for upload in uploads[:most]:
        picture = session.opened(upload)
        if isinstance(picture, ImgeditError):
            errors.show_error(words, picture, title=plain(upload.name))
        else:
            found.append(picture)
    for place, (picture, column) in enumerate(zip(found, st.columns(most), strict=False)):
        name = words("references.caption", number=place + 2)
        column.image(picture.thumb, caption=name, alt=name)
    st.caption(words("references.how"))
    session.references = found
    if found:
        options["references"] = [picture.data for picture in found]


def _kept_references(words: Words, session: Session) -> list[InputImage]:
    """Those of before a refresh."""
    if st.button(words("references.remove"), type="tertiary", icon=":material/close:", key="remove-references"):
        session.kept_references = []
    return list(session.kept_references)
