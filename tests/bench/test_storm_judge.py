"""Does the judge of sockets notice each way in which a crowd can be told wrongly, and acquit an honest run?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from bench.storm_fleet import frame_at, masked
from bench.storm_judge import Seen, judge
from ulak.cli.demonstration.evidence import Frame, SocketLog

ACCEPTED = {"ada": ["ntf_1", "ntf_2", "ntf_3"], "tom": ["ntf_4"]}


def frame(connection: int, prev: int, *items: tuple[str, int], live: bool = True, fresh: bool = False) -> Frame:
    return Frame(connection, prev, items[-1][1] if items else prev, items, live=live, fresh=fresh)


def honest() -> dict[str, Seen]:
    """Ada's connection broke after two items, and the third came when she resumed."""
    ada = SocketLog("ada", [frame(1, 0, ("a1", 1), fresh=True), frame(1, 1, ("a2", 2)), frame(2, 2, ("a3", 3))])
    tom = SocketLog("tom", [frame(1, 0, ("t1", 1), fresh=True)])
    return {
        "ada": Seen(ada, {"a1": "ntf_1", "a2": "ntf_2", "a3": "ntf_3"}),
        "tom": Seen(tom, {"t1": "ntf_4"}),
    }


def ada(frames: Callable[[list[Frame]], object], items: Mapping[str, str] | None = None) -> dict[str, Seen]:
    seen = honest()
    frames(seen["ada"].log.frames)
    return seen | {"ada": Seen(seen["ada"].log, items or seen["ada"].items)}


def test_an_honest_run_passes() -> None:
    verdict = judge(ACCEPTED, honest())
    assert verdict.passed, verdict.words()
    assert verdict.plain() == {
        "accepted": 4, "lost": 0, "visible_twice": 0, "holes": 0, "repeated_and_replaced": 0,
    }  # fmt: skip


def test_an_item_that_never_came_is_lost() -> None:
    verdict = judge(ACCEPTED, ada(list.pop, {"a1": "ntf_1", "a2": "ntf_2"}))
    assert verdict.lost == ("ada never saw ntf_3",)
    assert not verdict.passed


def test_a_user_without_a_socket_has_lost_what_was_his() -> None:
    seen = honest()
    del seen["tom"]
    assert judge(ACCEPTED, seen).lost == ("tom had no socket, and 1 notifications",)


def test_one_notification_as_two_items_is_visible_twice() -> None:
    items = {"a1": "ntf_1", "a2": "ntf_2", "a3": "ntf_3", "a4": "ntf_3"}
    verdict = judge(ACCEPTED, ada(lambda frames: frames.append(frame(2, 3, ("a4", 4))), items))
    assert verdict.twice == ("ada sees ntf_3 2 times",)


def test_what_nobody_was_told_of_is_wrong() -> None:
    items = {"a1": "ntf_1", "a2": "ntf_2", "a3": "ntf_3", "a4": "ntf_9"}
    verdict = judge(ACCEPTED, ada(lambda frames: frames.append(frame(2, 3, ("a4", 4))), items))
    assert verdict.wrong == ("ada sees ntf_9, which nobody was told of",)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda frames: frames.insert(2, frames[1]), "a step back"),
        (lambda frames: frames.append(replace(frames[2], prev=3)), "a3 came twice at revision 3"),
        (lambda frames: frames.__setitem__(2, replace(frames[2], prev=1)), "a step back"),
        (lambda frames: frames.__setitem__(1, replace(frames[1], prev=2)), "a hole"),
        (lambda frames: frames.append(frame(3, 0, ("a1", 1), fresh=True)), "sent back to the beginning"),
    ],
    ids=["replayed", "replayed in the chain", "prev too low", "prev too high", "full sync for no reason"],
)
def test_a_broken_chain_is_noticed(spoil: Callable[[list[Frame]], object], said: str) -> None:
    verdict = judge(ACCEPTED, ada(spoil))
    assert any(said in why for why in verdict.wrong), verdict
    assert not verdict.passed


def test_an_item_that_came_again_is_counted_and_no_fault_where_its_revision_moved() -> None:
    verdict = judge(ACCEPTED, ada(lambda frames: frames.append(frame(2, 3, ("a1", 4)))))
    assert verdict.passed, verdict.words()
    assert verdict.repeated == 1


def test_complaints_of_a_client_are_faults() -> None:
    seen = honest()
    seen["ada"].log.complaints.append("was closed with 4505")
    assert judge(ACCEPTED, seen).wrong == ("ada: was closed with 4505",)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 5_000])
def test_the_clients_frames_are_masked_and_lengths_are_read_back(size: int) -> None:
    payload = bytes(range(256)) * 20
    made = masked(1, payload[:size])
    head = len(made) - size
    key = made[head - 4 : head]
    assert bytes(byte ^ key[i & 3] for i, byte in enumerate(made[head:])) == payload[:size]
    assert made[1] & 0x80
    plain = bytes([made[0], made[1] & 0x7F]) + made[2 : head - 4] + payload[:size]
    assert frame_at(plain, 0) == (1, head - 4, len(plain))
    assert frame_at(plain[:-1], 0) is None or size == 0
