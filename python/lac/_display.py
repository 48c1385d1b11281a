"""Tokens made readable, and traces as pictures in a notebook."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._trace import Trace

#: Tokens of a phase that a picture shows.
MAX_ROWS = 60


@lru_cache(maxsize=1)
def _bytes_of_characters() -> dict[str, int]:
    """Which byte each character of a byte-level vocabulary stands for, as in GPT-2."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in printable)
    characters = {chr(byte): byte for byte in printable}
    characters.update({chr(256 + idx): byte for idx, byte in enumerate(others)})
    return characters


def readable(piece: str) -> str:
    """Returns the text of a vocabulary's spelling: `Ġthe` and `▁the` are ` the`."""
    if "▁" in piece:
        return piece.replace("▁", " ")
    characters = _bytes_of_characters()
    if piece.isascii() or any(character not in characters for character in piece):
        return piece
    return bytes(characters[character] for character in piece).decode("utf-8", "replace")


def _label(piece: str) -> str:
    text = readable(piece)
    shown = "".join(c if c.isprintable() else {"\n": "⏎", "\t": "⇥"}.get(c, "�") for c in text)
    return shown if len(shown) <= 16 else shown[:15] + "…"


def html(trace: Trace) -> str:
    """Draws tokens × layers as SVG: no script, nothing from elsewhere, and the page's own colours of text."""
    n_layers = trace.n_layers
    cell = max(4, min(12, 560 // max(n_layers, 1)))
    left, row_height = 130, 14
    y = 0
    parts: list[str] = []
    active: list[str] = []
    void: list[str] = []

    def line(text: str, faint: bool = False) -> None:
        nonlocal y
        y += row_height + 4
        opacity = ' opacity="0.6"' if faint else ""
        parts.append(f'<text x="0" y="{y - 3}"{opacity}>{escape(text)}</text>')

    for phase in ("prompt", "response"):
        tokens = getattr(trace, phase)
        if not len(tokens):
            continue
        share = 100 * tokens.active.mean()
        line(f"{phase}: {len(tokens)} tokens, {share:.1f} % of the layers active")
        for row in range(min(len(tokens), MAX_ROWS)):
            label = escape(_label(tokens.tokens[row]))
            parts.append(f'<text x="{left - 6}" y="{y + 11}" text-anchor="end" xml:space="preserve">{label}</text>')
            for layer in range(n_layers):
                if not tokens.executed[row, layer]:
                    continue
                path = active if tokens.active[row, layer] else void
                path.append(f"M{left + layer * cell} {y + 1}h{cell - 1}v{row_height - 2}h{1 - cell}z")
            y += row_height
        if len(tokens) > MAX_ROWS:
            line(f"… {len(tokens) - MAX_ROWS} more tokens", faint=True)
    line(f"a row is a token, a column one of {n_layers} layers; blue: active, grey: void, none: not run", faint=True)
    width = max(left + n_layers * cell, 560)
    # Words take the page's colour of text; blue is legible on white and on black.
    return (
        f'<div style="overflow:auto"><p>{escape(trace.title)}</p>'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 4}" viewBox="0 0 {width} {y + 4}" '
        'fill="currentColor" style="font:12px monospace" role="img" aria-label="active layers per token">'
        f"{''.join(parts)}"
        f'<path d="{"".join(void)}" fill-opacity="0.13"/>'
        f'<path d="{"".join(active)}" fill="#3b82f6"/></svg></div>'
    )
