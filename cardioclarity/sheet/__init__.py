"""What pages share: one way for text onto them, and an opening with the style, the brand and the notice."""

import html
from importlib import resources
from string import Template


def text(value: object) -> str:
    """Make any value safe inside HTML and SVG, in text and in quoted attributes: the one way onto a page.

    Control and direction-changing characters have no place on it and are shown as U+FFFD.
    """
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value)))


def opening(*, title: str, skip_to: tuple[str, str], heading: str, facts: str, notice: str) -> str:
    """Write a page from its first byte to the notice; it has no script and no address to load from.

    Args:
        title: For the browser, safe text, as all that follows.
        skip_to: Id of the section that a keyboard may skip to, and what to call it.
        heading: The largest words.
        facts: Markup of what must stand beside them.
        notice: What follows the sentence that this is for research only.
    """
    folder = resources.files("cardioclarity.sheet")
    place, called = skip_to
    return Template((folder / "opening.html").read_text("utf-8")).substitute(
        title=title,
        css=(folder / "sheet.css").read_text("utf-8"),
        place=place,
        called=called,
        heading=heading,
        facts=facts,
        notice=notice,
    )
