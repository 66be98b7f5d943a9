"""What verdicts say in plain words: whether a build has the bug."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from clusterproof.reports.results.verdicts import Role, Verdict


class Answer(StrEnum):
    """The plain words for a verdict, which pages and terminals show before it.

    The first four answer whether the bug is in the build. A symptom that the scenario brought about
    by hand, to prove that it recognises it, says nothing of the build, and neither does an issue
    that does not apply to it.
    """

    HAS_BUG = "has the bug"
    FAILS = "fails otherwise"
    FREE = "free of it"
    NOT_KNOWN = "not known"
    BROUGHT_ABOUT = "brought about"
    NOT_APPLICABLE = "does not apply"

    @property
    def meaning(self) -> str:
        """One sentence for a legend."""
        return _MEANINGS[self]


_MEANINGS = {
    Answer.HAS_BUG: "The documented symptom showed on the build.",
    Answer.FAILS: "The product misbehaved, but not in the documented way.",
    Answer.FREE: "The scenario ran, and the build behaved correctly.",
    Answer.NOT_KNOWN: "The product was not judged: the lab failed, or lacks what the scenario needs.",
    Answer.BROUGHT_ABOUT: "The symptom was brought about by hand and recognised; the build is not judged by it.",
    Answer.NOT_APPLICABLE: "The issue does not concern the product, or the scenario not the build.",
}

_ANSWERS = {
    Verdict.REGRESSED: Answer.HAS_BUG,
    Verdict.DISCOVERED: Answer.HAS_BUG,
    Verdict.FAILED: Answer.FAILS,
    Verdict.SILENTLY_FIXED: Answer.FREE,
    Verdict.BLOCKED: Answer.NOT_KNOWN,
    Verdict.REPRODUCED: Answer.HAS_BUG,
    Verdict.CONFORMS: Answer.FREE,
    Verdict.CLEAR: Answer.FREE,
    Verdict.UNTESTABLE: Answer.NOT_KNOWN,
    Verdict.NOT_APPLICABLE: Answer.NOT_APPLICABLE,
}


def answer(verdict: Verdict, role: Role = "reproduction") -> Answer:
    """Return what ``verdict`` says in plain words where a scenario in ``role`` has it."""
    if role == "injection" and verdict is Verdict.REPRODUCED:
        return Answer.BROUGHT_ABOUT
    return _ANSWERS[verdict]


def in_words(verdict: Verdict, role: Role = "reproduction") -> str:
    """Return the plain words with the verdict behind them: ``has the bug (reproduced)``."""
    words = answer(verdict, role)
    return words if words is Answer.NOT_APPLICABLE else f"{words} ({verdict})"


def tally(results: Iterable[tuple[Verdict, Role]]) -> str:
    """Count ``results`` in plain words: ``has the bug: 2 reproduced; free of it: 1 conforms, 3 clear``.

    Returns an empty text where there are none.
    """
    counts = Counter((answer(verdict, role), verdict) for verdict, role in results)
    parts = []
    for words in Answer:
        verdicts = ", ".join(f"{counts[words, one]} {one}" for one in Verdict if counts[words, one])
        if verdicts:
            parts.append(f"{words}: {verdicts}")
    return "; ".join(parts)
