"""Keep keys and values of tokens that a region step does not compute.

A full step records them inside the attention of every block. A region step attends to its own tokens' keys and to the
recorded ones. Both use the model's attention processor (`attention.py` beside its adapter), which is installed only if
region steps are turned on, and passes every other forward to diffusers' processor.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn

Tables = tuple[torch.Tensor, ...]
"""Angles of every place of the full sequence, (places, …) each."""

Rotate = Callable[[torch.Tensor, Tables], torch.Tensor]


@dataclass(eq=False)
class KeptKeys:
    """The kept keys and values of one pass of one job. Belongs to the job's state.

    computed (m,), kept (n,): the places, among the pictures' tokens of a full step, of those that a region step
    computes and of all others. blocks: keys and values, (1, n, heads, width) each, in the order of the blocks; empty
    where nothing is kept.
    """

    computed: torch.Tensor
    kept: torch.Tensor
    blocks: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)


class KeyedForward:
    """One forward whose rows record keys and values, or use the recorded ones.

    rows: None = this row records nothing; in full steps only. full: every token is computed and keys are recorded; else
    only the region's tokens are computed.
    """

    def __init__(self, rows: Sequence[KeptKeys | None], *, full: bool) -> None:
        self.full = full
        self._rows = rows
        for row in rows:
            if full and row is not None:
                row.blocks.clear()  # before the new ones come, so that no job ever holds both

    def rotated(self, tokens: torch.Tensor, tables: Tables, rotate: Rotate, text: int = 0) -> torch.Tensor:
        """Rotate each token by the angles of its place in the full sequence.

        Returns (B, text + computed, heads, width).

        text: how many tokens, and places of the tables, are of text; they come first.
        """
        if self.full:
            return rotate(tokens, tables)
        rows = []
        for index, row in enumerate(self._present()):
            angles = tuple(torch.cat([table[:text], table[text:][row.computed]]) for table in tables)
            rows.append(rotate(tokens[index : index + 1], angles))
        return _joined(rows)

    def attend(
        self,
        block: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        text: int,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, text + computed, heads × width): what the computed tokens see in all.

        block: its number. text: how many tokens are of text; they come first. mask: (B, text) bool, those of them that
        count; None = all.
        """
        if self.full:
            self._record(key[:, text:], value[:, text:])
        else:
            kept = [row.blocks[block] for row in self._present()]
            key = torch.cat([key, _joined([keys for keys, _ in kept])], dim=1)
            value = torch.cat([value, _joined([values for _, values in kept])], dim=1)
        if mask is not None:
            others = mask.new_ones(len(mask), key.shape[1] - text)
            mask = torch.cat([mask, others], dim=1)[:, None, None, :]
        attended: torch.Tensor = dispatch_attention_fn(query, key, value, attn_mask=mask)
        return attended.flatten(2, 3).to(query.dtype)

    def text_of(self, tokens: int) -> int:
        """How many of so many tokens of a forward are of text."""
        row = next(row for row in self._rows if row is not None)
        return tokens - len(row.computed) - (len(row.kept) if self.full else 0)

    def _record(self, key: torch.Tensor, value: torch.Tensor) -> None:
        for index, row in enumerate(self._rows):
            if row is not None:
                row.blocks.append((key[index, row.kept][None], value[index, row.kept][None]))

    def _present(self) -> Iterator[KeptKeys]:
        for row in self._rows:
            if row is None:
                raise ValueError("a region step needs what a full step has kept")
            yield row


class KeyKeeper:
    """Tells one transformer's attention processors which forward runs.

    Belongs to the worker thread.
    """

    def __init__(self) -> None:
        self.forward: KeyedForward | None = None

    @property
    def running(self) -> KeyedForward:
        """The forward that runs."""
        if self.forward is None:
            raise ValueError("no forward keeps or uses keys")
        return self.forward

    @contextmanager
    def during(self, forward: KeyedForward | None) -> Iterator[None]:
        """Keep or use keys and values meanwhile; None = do neither."""
        self.forward = forward
        try:
            yield
        finally:
            self.forward = None


def _joined(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    return rows[0] if len(rows) == 1 else torch.cat(list(rows))
