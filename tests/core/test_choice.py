from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.choice import LINK, Chosen, Offer, Stand, answered, offers, refusable, stand
from ulak.core.project import ProjectError, load

_MAIN = """
[email]
from = "o@example.com"
[types.order]
category = "orders"
class = "transactional"
route = [{ channel = "in_app" }, { channel = "email", after = "1m" }]
[types.paid]
category = "orders"
class = "transactional"
route = [{ channel = "sms" }]
[types.offer]
category = "offers"
class = "marketing"
route = [{ channel = "email" }]
[types.login]
category = "security"
class = "critical"
route = [{ channel = "email" }]
[types.hint]
category = "security"
class = "transactional"
route = [{ channel = "email" }]
"""
_EMAIL = '+++\nsubject = "x"\n+++\nx'
_FILES = {
    "ulak.toml": _MAIN,
    "templates/order/in_app.txt": '+++\ntitle = "x"\n+++\nx',
    **{f"templates/{name}/email.md": _EMAIL for name in ("order", "offer", "login", "hint")},
}
_CATALOG = load(_FILES)
_CATEGORIES, _CHANNELS = st.sampled_from(["orders", "offers", "*"]), st.sampled_from(["email", "in_app", "*"])


def test_what_may_be_refused_has_no_critical_type() -> None:
    assert {category: list(channels) for category, channels in refusable(_CATALOG).items()} == {
        "orders": ["in_app", "email", "sms"],
        "offers": ["email"],
    }


def test_marketing_can_not_hide_behind_a_critical_type() -> None:
    files = _FILES | {"ulak.toml": _MAIN.replace('category = "offers"', 'category = "security"')}
    with pytest.raises(ProjectError, match=r"types\.offer\.category"):
        load(files)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], Stand.ON),
        ([Chosen("orders", "email", False, "me")], Stand.OFF),
        ([Chosen("orders", "email", False, LINK)], Stand.OFF_BY_LINK),
        ([Chosen("orders", "email", False, LINK, True)], Stand.OFF_BY_LINK),
        ([Chosen("*", "email", False, "me")], Stand.OFF),
        ([Chosen("*", "email", False, "me"), Chosen("orders", "email", False, LINK)], Stand.OFF),
        ([Chosen("*", "email", False, "me"), Chosen("orders", "email", False, LINK, True)], Stand.OFF_BY_LINK),
        ([Chosen("*", "email", False, "me"), Chosen("orders", "email", True, "me")], Stand.ON),
    ],
)
def test_how_a_category_stands(rows: list[Chosen], expected: Stand) -> None:
    assert stand(rows, "orders", "email") is expected


_ROWS = st.lists(
    st.builds(Chosen, _CATEGORIES, _CHANNELS, st.booleans(), st.sampled_from(["me", "api"])),
    unique_by=lambda row: (row.category, row.channel),
)


@given(_ROWS, st.data())
def test_whatever_a_link_does_nothing_is_allowed_that_was_not_before(rows: list[Chosen], data: st.DataObject) -> None:
    """Any number of answers by any forms: the most that links can do is to put things back."""
    first = {(offer.category, offer.channel): offer.stand for offer in offers(_CATALOG, rows)}
    now = rows
    for _ in range(3):
        shown = offers(_CATALOG, now)
        wanted = data.draw(st.lists(st.sampled_from([(o.category, o.channel) for o in shown])))
        change = answered(shown, wanted)
        now = _applied(now, change.refuse, change.restore)
        for offer in offers(_CATALOG, now):
            assert offer.stand is not Stand.ON or first[offer.category, offer.channel] is Stand.ON
        for pair in wanted:
            assert first[pair] is not Stand.ON or stand(now, *pair) is Stand.ON


def _applied(rows: list[Chosen], refuse: object, restore: object) -> list[Chosen]:
    """What the statements ``refuse`` and ``restore`` of consents.sql do."""
    known = {(row.category, row.channel): row for row in rows}
    for pair in refuse:  # type: ignore[attr-defined]
        old = known.get(pair)
        if old is None or old.allowed:
            known[pair] = Chosen(pair[0], pair[1], False, LINK, None if old is None else True)
    for pair in restore:  # type: ignore[attr-defined]
        old = known[pair]
        if old.source == LINK and not old.allowed:
            if old.replaced is None:
                del known[pair]
            else:
                known[pair] = Chosen(pair[0], pair[1], old.replaced, LINK)
    return list(known.values())


def test_a_form_says_nothing_about_what_it_did_not_show() -> None:
    shown = [Offer("orders", "email", Stand.ON)]
    assert answered(shown, []).refuse == (("orders", "email"),)
    assert answered([], [("orders", "email")]) == answered([], [])
