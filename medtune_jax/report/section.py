"""What a section of the page is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import Drawing


class Section(NamedTuple):
    """A part of the page. `drawings` are also saved as PNG."""

    title: str
    html: Markup
    drawings: Sequence[Drawing] = ()

    @classmethod
    def of(cls, title: str, *parts: Markup, drawings: Sequence[Drawing] = ()) -> Section:
        """A section of several parts, one below the other."""
        return cls(title, markup.join(parts), drawings)


# From the evidence to a section; None when there is nothing to show.
SectionMaker = Callable[[Evidence], Section | None]
