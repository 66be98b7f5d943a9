"""The gate's result as a badge: one small SVG, for a README or a dashboard."""

from __future__ import annotations

from clusterproof.reports.decide.gate import BLOCKED, PASSED, GateResult
from clusterproof.reports.site.rendering import templates

LABEL = "clusterproof"
_CHARACTER = 6.6  # pixels of one at 11 pixels of height; the texts are stretched to fit
_PADDING = 12  # pixels
# White text on them has a contrast of at least 4.5.
_COLOURS = {PASSED: "#2a7d3a", BLOCKED: "#8a6100"}
_WRONG = "#b3261e"


def badge(result: GateResult) -> str:
    """Return the SVG; its words are in it as text, too, for screen readers."""
    whole = result.says if result.outcome == PASSED else f"not passed: {result.says}"
    says = whole.split(",")[0]
    left, right = (round(len(text) * _CHARACTER) for text in (LABEL, says))
    return (
        templates()
        .get_template("badge.svg")
        .render(
            label=LABEL,
            says=says,
            colour=_COLOURS.get(result.outcome, _WRONG),
            left=left,
            right=right,
            padding=_PADDING,
        )
    )
