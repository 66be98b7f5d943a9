"""What verdicts say in plain words: whether a build has the bug."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.verdicts import Role, Verdict


class Answer(StrEnum):
    """The plain words for a verdict, which pages and terminals show before it.

    The first four answer whether the bug is in the build. The others do not: that a workaround
    works, that a symptom was brought about by hand to prove that the scenario recognises it, and
    that the issue does not apply.
    """

    HAS_BUG = "has the bug"
    FAILS = "fails otherwise"
    FREE = "free of it"
    NOT_KNOWN = "not known"
    WORKS = "works"
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
    Answer.NOT_KNOWN: "The product was not judged: lab or scenario failed, or the lab lacks what it takes.",
    Answer.WORKS: "With the workaround, or without the cause, even an affected build behaved correctly.",
    Answer.BROUGHT_ABOUT: "The scenario brought the symptom about by hand, on any build, and recognised it.",
    Answer.NOT_APPLICABLE: "The issue does not concern the product, or the scenario not the build.",
}

_ANSWERS = {
    Verdict.REGRESSED: Answer.HAS_BUG,
    Verdict.DISCOVERED: Answer.HAS_BUG,
    Verdict.FAILED: Answer.FAILS,
    Verdict.SILENTLY_FIXED: Answer.FREE,
    Verdict.INVALID: Answer.NOT_KNOWN,
    Verdict.BLOCKED: Answer.NOT_KNOWN,
    Verdict.REPRODUCED: Answer.HAS_BUG,
    Verdict.CONFORMS: Answer.FREE,
    Verdict.CLEAR: Answer.FREE,
    Verdict.UNTESTABLE: Answer.NOT_KNOWN,
    Verdict.NOT_APPLICABLE: Answer.NOT_APPLICABLE,
}


def answer(verdict: Verdict, role: Role = "reproduction") -> Answer:
    """Return what ``verdict`` says in plain words where a scenario in ``role`` has it."""
    words = _ANSWERS[verdict]
    if role == "injection":
        by_hand = {Answer.HAS_BUG: Answer.BROUGHT_ABOUT, Answer.FREE: Answer.NOT_KNOWN}
        return by_hand.get(words, words)
    if role != "reproduction" and words is Answer.FREE:
        return Answer.WORKS
    return words


def in_words(words: Answer, verdict: Verdict) -> str:
    """Return the plain words with the verdict behind them: ``has the bug (reproduced)``."""
    return words if words is Answer.NOT_APPLICABLE else f"{words} ({verdict})"


def cell_in_words(cell: Cell) -> str:
    """Return what a result says: ``has the bug (reproduced)``."""
    return in_words(answer(cell.verdict, cell.role), cell.verdict)


def meaning(verdict: Verdict, role: Role) -> str:
    """Return in a sentence what ``verdict`` of a scenario in ``role`` means."""
    words = answer(verdict, role)
    return words.meaning if words in (Answer.WORKS, Answer.BROUGHT_ABOUT) else verdict.meaning


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
