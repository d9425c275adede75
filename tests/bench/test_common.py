"""Do the benches count what they say: CPU of whole process trees, medians, goals missed as well as reached?"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.common import Goal, Measure, Options, Report, cpu_of, in_turn, percentile, table
from ulak.cli import bench as command

FAMILY = """
import subprocess, sys
burn = "import time\\nwhile time.process_time() < 0.4: pass\\n"
subprocess.run([sys.executable, "-c", burn])
child = subprocess.Popen([sys.executable, "-c", burn + "input()"], stdin=subprocess.PIPE)
print("up", flush=True)
input()
"""


def test_cpu_counts_children_that_live_and_that_have_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        end = time.monotonic() + 60
        while cpu_of(parent.pid) < 0.6 and time.monotonic() < end:
            time.sleep(0.05)
        assert cpu_of(parent.pid) >= 0.6
        parent.kill()


def test_rounds_turn_and_figures_are_medians() -> None:
    order: list[str] = []
    seconds = iter([1.0, 2.0, 4.0])

    async def ours() -> Measure:
        order.append("ours")
        return Measure(1_000, next(seconds), cpu=0.5)

    async def peer() -> Measure:
        order.append("peer")
        return Measure(1_000, 1.0)

    found = asyncio.run(in_turn({"ours": ours, "peer": peer}, Options(rounds=3)))
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert found["ours"]["per_second"] == 500
    assert found["ours"]["cpu_s_per_100k"] == 50
    assert found["ours"]["rounds"] == [1000, 500, 250]


def test_a_goal_knows_its_direction() -> None:
    assert Goal("rate", 10, 9).plain()["reached"] is False
    assert Goal("rate", 10, 10).plain()["reached"] is True
    assert Goal("time", 10, 11, most=True).plain()["reached"] is False
    assert Goal("time", 10, 10, most=True).plain()["reached"] is True


def test_a_ratio_without_its_peer_is_none_at_all() -> None:
    report = Report("x", 1, {"ours": {"per_second": 30.0}, "peer": {"per_second": 10.0}})
    assert report.ratio("ours / peer", "ours", "peer") == 3
    assert report.ratio("ours / absent", "ours", "absent") == 0
    assert report.ratios == {"ours / peer": 3}


def test_percentiles() -> None:
    assert percentile(range(100), 0.5) == 50
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([], 0.5) == 0.0


def test_without_its_folder_the_command_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "__file__", str(tmp_path / "a/b/c/bench.py"))
    told = CliRunner().invoke(command.command, ["queue"])
    assert told.exit_code == 1
    assert "clone the repository" in told.output


@pytest.mark.pg
@pytest.mark.slow
def test_a_bench_runs_and_prints_json() -> None:
    arguments = [sys.executable, "-m", "ulak", "bench", "pipeline", "--quick", "--rounds", "1", "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["durability"]["fsync"] == found["durability"]["synchronous_commit"] == "on"
    whole = found["results"]["accept to settled, batch-fed over http"]
    assert whole["per_second"] > 0
    assert whole["cpu_s_per_100k"] > 0
    assert whole["postgres_cpu_s_per_100k"] > 0
    assert whole["rows_per_item"] > 5
    assert all(goal["what"] in table(found) for goal in found["goals"])
