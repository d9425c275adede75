"""What proves that a process lives: tests with real zombies, real children and a real thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.io.embedded.helpers import wait_until
from ulak.io.embedded import process
from ulak.io.embedded.errors import EmbeddedError

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")


def test_a_running_process_is_alive_and_another_start_time_is_not() -> None:
    me = process.identify(os.getpid())
    assert me is not None
    assert me.alive()
    assert not process.ProcessId(me.pid, "1").alive()  # the same pid, recycled


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen(["/bin/true"]) as child:
        wait_until(lambda: process.start_of(child.pid) is None)
        os.kill(child.pid, 0)  # for the kernel it exists: this is what PostgreSQL itself trusts
        assert process.identify(child.pid) is None


def test_no_process_has_no_start() -> None:
    with subprocess.Popen(["/bin/true"]) as child:
        child.wait()
    assert process.identify(child.pid) is None


def test_a_command_name_cannot_forge_the_fields(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 2"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as child:
        assert process.start_of(child.pid) not in (None, "2")
        child.kill()


def test_servers_in_a_directory_are_found_by_name_and_place(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], cwd=tmp_path) as child:
        wait_until(lambda: process.servers_in(tmp_path, "sleep") == [child.pid])
        assert process.servers_in(tmp_path, "postgres") == []
        assert process.servers_in(tmp_path.parent, "sleep") == []
        child.kill()


def test_only_the_main_thread_may_fork() -> None:
    caught: list[Exception] = []

    def try_it() -> None:
        try:
            process.launch(["/bin/true"], death_signal=signal.SIGKILL, account=None, output=subprocess.DEVNULL)
        except EmbeddedError as error:
            caught.append(error)

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


@LINUX_ONLY
def test_the_trap_is_real_a_child_of_a_thread_dies_with_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation check of the test above: without the refusal the child is killed though the process lives on."""
    monkeypatch.setattr(process, "require_main_thread", lambda: None)
    children: list[subprocess.Popen[bytes]] = []
    started, finish = threading.Event(), threading.Event()

    def fork() -> None:
        argv = ["/bin/sleep", "60"]
        child = process.launch(argv, death_signal=signal.SIGTERM, account=None, output=subprocess.DEVNULL)
        children.append(child)
        started.set()
        finish.wait()

    thread = threading.Thread(target=fork)
    thread.start()
    started.wait()
    wait_until(lambda: process._command(children[0].pid) == "sleep")
    finish.set()
    thread.join()
    assert children[0].wait(60) == -signal.SIGTERM


def test_the_environment_keeps_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULAK_SECRET", "canary")
    child = process.launch(["/usr/bin/env"], death_signal=signal.SIGKILL, account=None, output=subprocess.PIPE)
    output = child.communicate()[0]
    assert b"PATH=" in output
    assert b"canary" not in output


def test_an_ignored_signal_is_heard_again() -> None:
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        child = process.launch(
            ["/bin/sleep", "60"], death_signal=signal.SIGKILL, account=None, output=subprocess.DEVNULL
        )
    finally:
        signal.signal(signal.SIGQUIT, before)
    wait_until(lambda: process._command(child.pid) == "sleep")
    child.send_signal(signal.SIGQUIT)
    assert child.wait(60) == -signal.SIGQUIT


def test_a_program_that_cannot_run_is_told() -> None:
    child = process.launch(["/nowhere"], death_signal=signal.SIGKILL, account=None, output=subprocess.PIPE)
    assert b"cannot run /nowhere" in child.communicate()[0]
    assert child.returncode == 111


def test_a_stubborn_child_is_ended_by_the_last_way() -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    child = process.launch(["/bin/sh", "-c", script], death_signal=signal.SIGKILL, account=None, output=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    assert process.end(child, [(signal.SIGTERM, 0.2), (signal.SIGKILL, 10)]) == -signal.SIGKILL
    child.stdout.close()


@pytest.mark.parametrize("ends_by", ["our death", "a signal"])
def test_the_watching_launcher_ends_its_child_with_us_and_passes_signals_on(ends_by: str) -> None:
    child = process.launch(
        ["/bin/sh", "-c", "echo $$; exec sleep 60"],
        death_signal=signal.SIGTERM,
        account=None,
        output=subprocess.PIPE,
        watch=True,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    pid = int(child.stdout.readline())
    if ends_by == "our death":
        child.stdin.close()
    else:
        child.send_signal(signal.SIGINT)
    assert child.wait(60) == (signal.SIGTERM if ends_by == "our death" else signal.SIGINT)
    assert process.start_of(pid) is None
    child.stdin.close()
    child.stdout.close()
