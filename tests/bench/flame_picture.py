"""A flame graph as a picture: width is time, what stands above was called by what is below, colours are stages.

It is a plain SVG without scripts, so it shows wherever pictures do; a browser tells a function's whole name and share
where the mouse rests on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec

WIDTH, MARGIN, ROW = 1_600, 12, 20
HEAD, LEGEND_ROW = 62, 22
LETTER = 6.5
"""Width of a letter of the small text, about."""
NARROWEST = 0.8
COLOURS = (
    "#b7d3e8", "#9fd1c4", "#cfd8dc", "#f4a261", "#f08a70", "#e9c46a", "#c9b6e4", "#b5c7f2",
    "#dcd3f0", "#a8d08d", "#cde7b0", "#f7d9a8", "#f2b5c6", "#e0e0e0",
)  # fmt: skip
"""One a stage, in their order; dark text can be read on each."""
LINK_COLOUR = "#f3efe6"
"""Functions that several stages have in common."""


class Node(msgspec.Struct):
    """A function in its place: samples in it and above it, by stage, and what it called."""

    name: str
    count: int = 0
    stages: set[int] = msgspec.field(default_factory=set)
    above: dict[str, Node] = msgspec.field(default_factory=dict)


def picture(data: dict[str, Any]) -> str:
    """The SVG of the figures that `flame.fold` has made."""
    root = _tree(data)
    rows = _depth(root)
    legend = _legend(data)
    height = HEAD + (rows + 1) * ROW + MARGIN + LEGEND_ROW * (1 + (len(legend) - 1) // 5) + MARGIN
    font = "font-family='DejaVu Sans, Verdana, Arial, sans-serif'"
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}'"
        f" {font}>",
        f"<rect width='{WIDTH}' height='{height}' fill='#ffffff'/>",
        f"<text x='{MARGIN}' y='26' font-size='18' font-weight='bold'>{escape(_title(data))}</text>",
        f"<text x='{MARGIN}' y='47' font-size='12' fill='#555555'>{escape(SUBTITLE)}</text>",
    ]
    scale = (WIDTH - 2 * MARGIN) / max(root.count, 1)
    floor = HEAD + rows * ROW
    lines += _drawn(root, MARGIN, floor, scale, root.count)
    for place, (colour, text) in enumerate(legend):
        x, y = MARGIN + place % 5 * (WIDTH - 2 * MARGIN) / 5, floor + ROW + MARGIN + place // 5 * LEGEND_ROW
        lines.append(f"<rect x='{x:.1f}' y='{y}' width='14' height='14' fill='{colour}'/>")
        lines.append(f"<text x='{x + 20:.1f}' y='{y + 11.5}' font-size='12'>{escape(text)}</text>")
    return "\n".join([*lines, "</svg>", ""])


SUBTITLE = (
    "Width is CPU time, a function stands on the one that called it; colours are stages. Left to right has no meaning."
    " Waiting is left out."
)


def _title(data: dict[str, Any]) -> str:
    meters, samples = (f"{data[name]:,}".replace(",", " ") for name in ("meters", "samples"))
    return f"The platform's process while {meters} meters are read: {samples} samples, {data['rate_hz']} a second"


def _tree(data: dict[str, Any]) -> Node:
    root = Node("all")
    names = ["  ".join(reversed(frame.split(" ", 1))) for frame in data["frames"]]
    for text in data["stacks"]:
        stage, count, *stack = map(int, text.split())
        node = root
        node.count += count
        for place in stack:
            node = node.above.setdefault(names[place], Node(names[place]))
            node.count += count
            node.stages.add(stage)
    return root


def _depth(node: Node) -> int:
    return 1 + max((_depth(one) for one in node.above.values()), default=0)


def _drawn(node: Node, x: float, y: float, scale: float, whole: int) -> Iterator[str]:
    """The boxes of a function and of all that it called, each with its name where there is room."""
    width = node.count * scale
    if width < NARROWEST:
        return
    colour = COLOURS[min(node.stages)] if len(node.stages) == 1 else LINK_COLOUR
    yield "<g>"
    yield f"<title>{escape(node.name)}: {node.count / whole:.1%}</title>"
    yield (
        f"<rect x='{x:.1f}' y='{y:.0f}' width='{max(width - 0.5, 0.4):.1f}' height='{ROW - 1}' fill='{colour}'"
        " rx='1.5'/>"
    )
    text = _fitting(node, whole, width)
    if text:
        yield f"<text x='{x + 3:.1f}' y='{y + 13.5:.1f}' font-size='11.5'>{escape(text)}</text>"
    yield "</g>"
    for one in sorted(node.above.values(), key=lambda above: (min(above.stages), above.name)):
        yield from _drawn(one, x, y - ROW, scale, whole)
        x += one.count * scale


def _fitting(node: Node, whole: int, width: float) -> str:
    """As much of a name as there is room for: with its file and share, alone, or the beginning of it."""
    room = int((width - 6) / LETTER)
    name = node.name.partition("  ")[0]
    for text in (f"{node.name}  {node.count / whole:.0%}", f"{name}  {node.count / whole:.0%}", name):
        if len(text) <= room:
            return text
    return f"{name[: room - 1]}…" if room >= 5 else ""


def _legend(data: dict[str, Any]) -> list[tuple[str, str]]:
    whole = max(sum(data["stages"].values()), 1)
    shares = [(colour, name, count / whole) for colour, (name, count) in zip(COLOURS, data["stages"].items())]  # noqa: B905
    return [(colour, f"{name}  {share:.1%}") for colour, name, share in shares] + [(LINK_COLOUR, "several stages")]
