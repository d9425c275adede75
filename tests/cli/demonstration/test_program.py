"""Is a run settled by its events and its seed, and does it hold what a demonstration needs?"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ulak.cli.demonstration import project
from ulak.cli.demonstration.people import Habit, cast, logins, organisations
from ulak.cli.demonstration.program import STAGES, BadEvents, Event, plan, read_events
from ulak.cli.demonstration.story import story
from ulak.core.device import AddressKind
from ulak.core.failpoint import NAMES
from ulak.core.values import email, identifier, locale

KINDS = project.kinds(project.example())


def test_people_are_found_wherever_they_stand_and_nobody_else() -> None:
    payload = {
        "sender": {"login": "ada", "type": "User"},
        "issue": {"assignees": [{"login": "efe"}, {"login": "bot[bot]"}, {"login": ""}, {"login": None}]},
        "organization": {"login": "club", "type": "Organization"},
        "app": {"owner": {"login": "robot", "type": "Bot"}},
    }
    assert set(logins(payload)) == {"ada", "efe"}


def test_a_user_who_stands_in_an_organisations_place_stays_a_user() -> None:
    payloads: list[dict[str, Any]] = [
        {"organization": {"login": "ada"}, "sender": {"login": "ada", "type": "User"}},
        {"organization": {"login": "club"}},
        {"organization": None},
    ]
    assert organisations(payloads) == {"club"}


@pytest.mark.parametrize("seed", range(5))
def test_a_cast_of_six_has_every_part(seed: int) -> None:
    people = cast(["ada", "deniz", "efe", "mira", "tom", "zeynep"], ["talk"], seed)
    assert people == cast(["zeynep", "tom", "mira", "efe", "deniz", "ada"], ["talk"], seed)
    assert sum(person.has_socket for person in people) == 3
    assert {person.locale for person in people} == {"en", "tr", "tr-TR", None}
    assert sum(person.email is None for person in people) == 1
    assert sum(person.suppressed for person in people) == 1
    assert sum(bool(person.muted) for person in people) == 1
    assert {Habit.READS, Habit.SEES} <= {person.habit for person in people}
    kinds = Counter(name.partition("-")[0] for person in people for name in person.devices)
    assert set(kinds) == set(AddressKind)
    assert sorted(len(person.devices) for person in people) == [0, 1, 1, 1, 2, 2]


def test_every_address_and_name_is_one_that_the_api_takes() -> None:
    for person in plan(story(), KINDS, seed=3).people:
        assert identifier(person.id) == person.id
        assert person.email is None or email(person.email) == person.email
        assert person.locale is None or locale(person.locale)


def test_the_same_seed_plans_the_same_run_and_another_seed_another() -> None:
    one = plan(story(), KINDS, repeat=3, kills=5, seed=1)
    assert one == plan(story(), KINDS, repeat=3, kills=5, seed=1)
    assert one != plan(story(), KINDS, repeat=3, kills=5, seed=2)


def test_every_repeat_has_keys_of_its_own() -> None:
    posts = plan(story(), KINDS, repeat=4).posts
    assert len(posts) == 4 * len(story())
    assert len({post.key for post in posts}) == len(posts)


def test_everybody_who_is_named_is_reached_and_nobody_is_left_to_speak_to_no_one() -> None:
    program = plan(story(), KINDS)
    known = {person.id for person in program.people}
    for post in program.posts:
        assert post.reaches
        assert post.reaches <= known
        assert set(logins(post.body["data"])) <= post.reaches
        assert json.loads(json.dumps(post.body)) == post.body


def test_the_story_reaches_topics_strangers_and_all_parts_of_the_project() -> None:
    posts = plan(story(), KINDS).posts
    targets = Counter(next(iter(one)) for post in posts for one in post.body["to"])
    assert {"topic", "user"} <= set(targets)
    assert any(isinstance(one.get("user"), dict) for post in posts for one in post.body["to"])
    assert {KINDS[post.type].klass for post in posts} == {"critical", "transactional", "marketing"}
    assert {leg.unless for post in posts for leg in KINDS[post.type].route} == {"", "seen", "read"}


@pytest.mark.parametrize("number", [1, 3, 9, 20])
def test_kills_visit_every_stage_before_any_twice_and_the_gap_before_the_commit_first(number: int) -> None:
    kills = plan(story(), KINDS, repeat=10, kills=number, seed=4).kills
    visits = Counter(kill.failpoint for kill in kills)
    assert len(kills) == number
    assert "attempt.after_reply" in visits
    assert max(visits.values()) - min(visits.get(stage, 0) for stage in STAGES) <= 1
    assert all(kill.count >= 1 for kill in kills)


def test_the_stages_are_the_failpoints_that_there_are() -> None:
    # Vendors tell the demo nothing later, so nothing of callbacks is reached.
    assert set(STAGES) == {name for name in NAMES if not name.startswith("callbacks.")}


def test_events_are_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"event": "star", "payload": {"a": 1}}\n\n{"event": "fork", "payload": {}}\n')
    assert read_events(file) == (Event("star", {"a": 1}), Event("fork", {}))
    for bad in ("nonsense", '{"event": "star"}', '{"event": "star", "payload": 1}', "[]"):
        file.write_text('{"event": "star", "payload": {}}\n' + bad + "\n")
        with pytest.raises(BadEvents, match="line 2"):
            read_events(file)
    file.write_text("\n")
    with pytest.raises(BadEvents, match="no events"):
        read_events(file)


def test_an_event_without_a_type_is_refused() -> None:
    with pytest.raises(BadEvents, match="earthquake"):
        plan([Event("earthquake", {})], KINDS)
