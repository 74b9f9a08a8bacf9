"""What an inline SVG shows."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from markupsafe import Markup


def parsed(svg: Markup) -> ElementTree.Element:
    """Return the root of a drawing."""
    return ElementTree.fromstring(svg)  # noqa: S314 - our own output


def texts(svg: Markup) -> list[str]:
    """Return the texts of a drawing, in its order."""
    return ["".join(node.itertext()).strip() for node in parsed(svg).iter() if node.tag.endswith("}text")]
