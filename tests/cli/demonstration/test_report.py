"""Is a run told in the shape that programs rely on, and in full to people?"""

from __future__ import annotations

import io
import json

from rich.console import Console

from ulak.cli.demonstration.case import Fault, Verdict
from ulak.cli.demonstration.program import Kill
from ulak.cli.demonstration.report import MOST, Run, as_json, faults, percentile, show
from ulak.cli.demonstration.stack import Death

VERDICT = Verdict(
    accepted=3,
    ends={("email", "accepted", ""): 2, ("email", "skipped", "read"): 1, ("email", "skipped", "no_address"): 4},
    faults=(Fault(False, "dlv_1", "is [odd]"), Fault(True, "ntf_2", "is gone")),
    duplicates=1,
    unknown=2,
)
RUN = Run(VERDICT, [5.0, 1.0, 9.04], [Death(Kill("plan.after_commit", 1), at_failpoint=True)], 3, 12.345)


def test_the_json_line_has_exactly_these_members() -> None:
    assert json.loads(as_json(RUN)) == {
        "accepted": 3,
        "deliveries": {"email": {"accepted": 2, "skipped": 5}},
        "lost": 1,
        "duplicates": 1,
        "unknown": 2,
        "passed_on": 0,
        "socket_ms": {"p50": 5.0, "p99": 9.0},
        "seconds": 12.3,
    }
    assert "\n" not in as_json(RUN)


def test_percentiles_are_nearest_rank_and_none_of_nothing() -> None:
    assert percentile([], 0.5) is None
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert percentile([float(n) for n in range(1, 101)], 0.5) == 50.0


def test_people_see_reasons_kills_and_faults_with_the_lost_first() -> None:
    out = io.StringIO()
    show(RUN, Console(file=out, width=100))
    faults(VERDICT, Console(file=out, width=100))
    text = out.getvalue()
    for piece in ("no_address", "plan.after_commit 1x", "2 faults", "lost: ntf_2: is gone", "wrong: dlv_1: is [odd]"):
        assert piece in text
    assert text.index("is gone") < text.index("is [odd]")


def test_a_thousand_faults_are_cut_and_counted() -> None:
    out = io.StringIO()
    many = Verdict(1, {}, tuple(Fault(True, f"ntf_{n}", "is gone") for n in range(1_000)), 0, 0)
    faults(many, Console(file=out, width=100))
    assert out.getvalue().count("is gone") == MOST
    assert f"and {1_000 - MOST} more" in out.getvalue()
