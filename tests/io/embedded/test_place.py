"""What a data directory looks like, who may own it, and where its socket goes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ulak.io.embedded import place
from ulak.io.embedded.errors import AlreadyOwned, EmbeddedError
from ulak.io.embedded.process import ProcessId, identify

ROOT = os.geteuid() == 0


def test_a_new_directory_is_private(tmp_path: Path) -> None:
    place.make_root_directory(tmp_path / "a" / "data")
    assert (tmp_path / "a" / "data").stat().st_mode & 0o777 == (0o711 if ROOT else 0o700)


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o775])
def test_an_existing_directory_is_left_alone(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    place.make_root_directory(tmp_path)
    place.make_directory(tmp_path, mode=0o711)
    assert tmp_path.stat().st_mode & 0o777 == mode


def test_a_directory_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(EmbeddedError, match="writable by everybody"):
        place.make_root_directory(tmp_path)


def test_a_bare_data_directory_of_postgresql_is_refused(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("18\n")
    with pytest.raises(EmbeddedError, match="itself a data directory"):
        place.make_root_directory(tmp_path)


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(EmbeddedError, match="not a directory"):
        place.make_root_directory(tmp_path / "data")


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_place_that_we_may_not_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="Cannot create"):
        place.make_root_directory(Path("/proc/ulak"))
    with pytest.raises(EmbeddedError, match="may not write"):
        place.make_root_directory(Path("/usr"))


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    first = place.lock(tmp_path, "lock", "record")
    with pytest.raises(AlreadyOwned, match=f"process {os.getpid()}") as raised:
        place.lock(tmp_path, "lock", "record")
    assert raised.value.pid == os.getpid()
    assert raised.value.url is None
    first.release()
    place.lock(tmp_path, "lock", "record").release()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(EmbeddedError, match="Cannot open"):
        place.lock(tmp_path, "lock", "record")
    assert (tmp_path / "target").read_text() == "precious"


def test_a_record_counts_only_while_exactly_that_process_runs(tmp_path: Path) -> None:
    record = tmp_path / "server.json"
    me = identify(os.getpid())
    assert me is not None
    assert place.read_url(record) is None
    place.write_record(record, me, "url")
    assert record.stat().st_mode & 0o777 == 0o600
    assert place.read_url(record) == "url"
    place.write_record(record, ProcessId(me.pid, "1"), "url")
    assert place.read_url(record) is None
    with subprocess.Popen(["/bin/true"]) as child:
        child.wait()
    place.write_record(record, ProcessId(child.pid, me.start), "url")
    assert place.read_url(record) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "start": 1, "url": 2}', "\0", "[" * 50])
def test_a_damaged_record_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert place.read_url(tmp_path / "server.json") is None


def test_the_socket_stays_at_home_while_its_path_fits(tmp_path: Path) -> None:
    name, record = ".s.PGSQL.5432", tmp_path / "short"
    room = place.LONGEST_SOCKET_PATH - len(os.fsencode(tmp_path)) - 2 - len(name)
    fits = tmp_path / ("a" * room)
    assert place.socket_directory(fits, name, None, record) == fits
    assert fits.stat().st_mode & 0o777 == 0o700
    assert not record.exists()
    long = tmp_path / ("a" * (room + 1))
    short = place.socket_directory(long, name, None, record)
    assert short != long
    assert not long.exists()
    assert short.stat().st_mode & 0o777 == 0o700
    again = place.socket_directory(long, name, None, record)
    assert again != short
    assert not short.exists()  # what the last start left is removed
    place.forget_short_directory(record)
    assert not again.exists()
    assert not record.exists()


def test_a_comma_moves_the_socket(tmp_path: Path) -> None:
    short = place.socket_directory(tmp_path / "a,b", "s", None, tmp_path / "record")
    assert "," not in str(short)
    place.forget_short_directory(tmp_path / "record")


def test_only_a_directory_of_ours_is_ever_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "record").write_text(f"{precious}\n")
    place.forget_short_directory(tmp_path / "record")
    assert precious.exists()
    link = tmp_path / "ulak-link"
    link.symlink_to(precious)
    (tmp_path / "record").write_text(f"{link}\n")
    place.forget_short_directory(tmp_path / "record")
    assert precious.exists()
