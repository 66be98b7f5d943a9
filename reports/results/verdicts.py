"""The judgement of a cell: what was observed, held against what the ledger expects."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, get_args

from clusterproof.builds import Expectation

Role = Literal["reproduction", "workaround", "control", "injection"]
ROLES: tuple[Role, ...] = get_args(Role)


class Observation(StrEnum):
    """What one run of a cell saw.

    ``symptom`` only where the documented symptom was positively identified; ``lab-error`` where
    the lab misbehaved, so that nothing was learnt about the product. ``scenario-error`` is a mistake of
    the scenario itself, or one that checked nothing.
    """

    CONFORMS = "conforms"
    SYMPTOM = "symptom"
    OTHER_FAILURE = "other-failure"
    LAB_ERROR = "lab-error"
    SCENARIO_ERROR = "scenario-error"
    NOT_RUN = "not-run"

    @property
    def judged(self) -> bool:
        """Whether the product's own behaviour was seen."""
        return self in (Observation.CONFORMS, Observation.SYMPTOM, Observation.OTHER_FAILURE)


class Verdict(StrEnum):
    """The judgement of a cell, from worst to best.

    The order of the members is the order of severity, which decides what stands for several
    scenarios together: what did not run says nothing where another scenario did.
    """

    REGRESSED = "regressed"
    DISCOVERED = "discovered"
    FAILED = "failed"
    SILENTLY_FIXED = "silently-fixed"
    INVALID = "invalid"
    BLOCKED = "blocked"
    REPRODUCED = "reproduced"
    CONFORMS = "conforms"
    CLEAR = "clear"
    UNTESTABLE = "untestable"
    NOT_APPLICABLE = "not-applicable"

    @property
    def expected(self) -> bool:
        """Whether the ledger said so beforehand; all others call for a person."""
        return self in _EXPECTED

    @property
    def severity(self) -> int:
        """0 for the best verdict, growing towards the worst."""
        return len(Verdict) - 1 - tuple(Verdict).index(self)

    @property
    def sign(self) -> str:
        """One character that tells this verdict from all others without colour."""
        return _SIGNS[self]

    @property
    def meaning(self) -> str:
        """One sentence for a legend."""
        return _MEANINGS[self]


_EXPECTED = frozenset(
    {Verdict.CONFORMS, Verdict.REPRODUCED, Verdict.CLEAR, Verdict.NOT_APPLICABLE, Verdict.UNTESTABLE}
)

# Single-width characters found in every monospaced font; none is an emoji, whose width differs.
_SIGNS = {
    Verdict.REGRESSED: "✗",
    Verdict.DISCOVERED: "!",
    Verdict.FAILED: "▲",
    Verdict.SILENTLY_FIXED: "?",
    Verdict.INVALID: "×",  # noqa: RUF001 (a multiplication sign, not a letter)
    Verdict.BLOCKED: "■",
    Verdict.REPRODUCED: "●",
    Verdict.CONFORMS: "✓",
    Verdict.CLEAR: "+",
    Verdict.UNTESTABLE: "○",
    Verdict.NOT_APPLICABLE: "–",  # noqa: RUF001 (an en dash is what typesetters put into an empty cell)
}

_MEANINGS = {
    Verdict.REGRESSED: "The documented symptom showed on a build that should be free of it.",
    Verdict.DISCOVERED: "The symptom showed on a build of which nothing is documented.",
    Verdict.FAILED: "The product misbehaved, but not in the documented way.",
    Verdict.SILENTLY_FIXED: "The build should be affected, yet it behaved correctly.",
    Verdict.INVALID: "The scenario made a mistake or checked nothing; nothing was learnt about the product.",
    Verdict.BLOCKED: "The lab failed; nothing was learnt about the product.",
    Verdict.REPRODUCED: "The documented symptom showed on an affected build.",
    Verdict.CONFORMS: "The build is documented as free of the issue and behaved correctly.",
    Verdict.CLEAR: "Nothing is documented of this build, and it behaved correctly.",
    Verdict.UNTESTABLE: "The lab lacks what the scenario needs, so it did not run.",
    Verdict.NOT_APPLICABLE: "The issue does not concern this product, or the scenario not this build.",
}

_SYMPTOM = {
    Expectation.FIXED: Verdict.REGRESSED,
    Expectation.NOT_AFFECTED: Verdict.REGRESSED,
    Expectation.AFFECTED: Verdict.REPRODUCED,
    Expectation.UNKNOWN: Verdict.DISCOVERED,
}

_CONFORMS = {
    Expectation.FIXED: Verdict.CONFORMS,
    Expectation.NOT_AFFECTED: Verdict.CONFORMS,
    Expectation.AFFECTED: Verdict.SILENTLY_FIXED,
    Expectation.UNKNOWN: Verdict.CLEAR,
}


_BY_EXPECTATION = {Observation.SYMPTOM: _SYMPTOM, Observation.CONFORMS: _CONFORMS}
_WHATEVER_IS_EXPECTED = {
    Observation.OTHER_FAILURE: Verdict.FAILED,
    Observation.SCENARIO_ERROR: Verdict.INVALID,
    Observation.LAB_ERROR: Verdict.BLOCKED,
    Observation.NOT_RUN: Verdict.UNTESTABLE,
}


def expect(issue: Expectation, role: Role) -> Expectation:
    """Return what a scenario in ``role`` expects of a build of which the issue expects ``issue``.

    In a workaround or control the cause is absent or the documented workaround is used, so that an
    affected build must behave correctly, too. In an injection the symptom is brought about by hand, so
    that every build must show it, which proves that the scenario recognises it.
    """
    if issue is Expectation.NOT_APPLICABLE:
        return issue
    if role == "injection":
        return Expectation.AFFECTED
    if role != "reproduction" and issue is Expectation.AFFECTED:
        return Expectation.NOT_AFFECTED
    return issue


def judge(expectation: Expectation, observation: Observation) -> Verdict:
    """Return the verdict on ``observation`` where ``expectation`` was held.

    Raises ValueError where a build was observed to which the issue does not apply: such a cell
    cannot run, so its observation must come from elsewhere.
    """
    if expectation is Expectation.NOT_APPLICABLE:
        if observation is not Observation.NOT_RUN:
            raise ValueError(
                f'observation "{observation}" on a build to which the issue does not apply; '
                "only not-run is possible there"
            )
        return Verdict.NOT_APPLICABLE
    by_expectation = _BY_EXPECTATION.get(observation)
    return by_expectation[expectation] if by_expectation else _WHATEVER_IS_EXPECTED[observation]
