"""The stage that rewrites an edit's prompts through the PromptService."""

from __future__ import annotations

import asyncio

from imgedit.errors import ServiceUnavailable
from services.orchestrator.backends.clients import Rewritten
from services.orchestrator.chain.state import EditContext, Texts
from services.orchestrator.imaging.work_area import looked_at
from services.orchestrator.request import prompts
from services.orchestrator.request.prompts import Mode

GLANCE_PIXELS = 448 * 448
"""The PromptService looks at pictures at less than this."""


async def rewrite_prompts(edit: EditContext) -> Texts:
    """Rewrite the prompts one after the other, as the service does anyway.

    Raises `PromptLanguageUnsupported` if a prompt needs rewriting and no service can do it.
    """
    asked, rewriting = edit.parameters, edit.rewriting
    prompt = Rewritten(asked.prompt, None)
    negative = Rewritten(asked.negative_prompt or "", None)
    try:
        if rewriting.prompt is not None:
            prompt = await _rewritten(edit, "prompt", asked.prompt, rewriting.prompt)
        if rewriting.negative_prompt:
            negative = await _rewritten(edit, "negative_prompt", negative.text, "translate")
    except ServiceUnavailable as error:
        raise prompts.unreachable(rewriting, error) from None
    model = prompt.model or negative.model
    return Texts(
        prompt.text,
        None if asked.negative_prompt is None else negative.text,
        models=(model,) if model else (),
    )


async def _rewritten(edit: EditContext, field: str, text: str, mode: Mode) -> Rewritten:
    """Expand a text with the images as context."""
    shown = (edit.picture.over_white(), *edit.references) if mode == "expand" else ()
    images = [await asyncio.to_thread(looked_at, image, GLANCE_PIXELS) for image in shown]
    return await edit.backends.rewrite_prompt(text, mode, images, field=field, deadline=edit.deadline)
