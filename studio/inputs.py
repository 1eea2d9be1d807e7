"""The input images: uploads, samples, an earlier result, and references.

Uploads may have any extension: the content decides.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from imgedit.errors import ImgeditError
from studio import components, errors, fields
from studio.catalogue import Form, configuration, samples
from studio.pictures import Picture
from studio.session import Session
from studio.text import Words, plain


def draw(words: Words, session: Session, form: Form) -> list[Picture]:
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
        session.chosen = None
    else:
        _samples(words, session)
    if session.chosen is not None:
        _chosen(words, session, session.chosen)
        return [session.chosen]
    limit = configuration().max_files
    if len(uploads) > limit:
        st.warning(words("batch.too_many", max=limit, count=len(uploads)), icon=":material/photo_library:")
    found = []
    for upload in uploads[:limit]:
        picture = session.opened(upload)
        if isinstance(picture, ImgeditError):
            errors.show(words, picture, title=plain(upload.name))
        else:
            found.append(picture)
    if len(found) > 1:
        st.info(words("batch.many", count=len(found)), icon=":material/photo_library:")
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
            chosen=session.chosen is picture,
        )
        for name, picture in offered.items()
    ]
    picked = components.gallery(items, label=words("samples"), key="samples", side="4.6rem")
    if picked in offered and session.chosen is not offered[picked]:
        session.chosen = offered[picked]
        st.rerun()


def _chosen(words: Words, session: Session, picture: Picture) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(f":material/image: {plain(picture.name)}")
        if st.button(words("picture.remove"), type="tertiary", icon=":material/close:", key="remove"):
            session.choose(None)
            st.rerun()


def references(words: Words, session: Session, form: Form, options: dict[str, Any]) -> None:
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
    found = []
    for place, (upload, column) in enumerate(zip(uploads[:most], st.columns(most), strict=False)):
        picture = session.opened(upload)
        if isinstance(picture, ImgeditError):
            errors.show(words, picture, title=plain(upload.name))
            continue
        name = words("references.caption", number=place + 2)
        column.image(picture.thumb, caption=name, alt=name)
        found.append(picture.data)
    st.caption(words("references.how"))
    if found:
        options["references"] = found
