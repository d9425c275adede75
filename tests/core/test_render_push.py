"""Does a push template become what a locked screen shows, in the user's language and with nothing smuggled in?"""

from __future__ import annotations

import pytest

from ulak.core.content.push import Action
from ulak.core.model import Channel
from ulak.core.project import ProjectError, load
from ulak.core.render import Renderer, RenderError

TOML = """
[types.order]
category = "orders"
class = "transactional"
route = [{ channel = "push" }]
"""
PUSH = """+++
title = "Order {{ data.id }}"
subtitle = "{{ data.shop }}"
url = "{{ data.url }}"
image = "https://cdn.example.com/{{ data.id }}.png"
icon = "/icon.png"
sound = "none"
color = "#3366FF"
thread = "order-{{ data.id }}"
category = "ORDER"
android_channel = "orders"
priority = "normal"
interruption = "time-sensitive"
badge = false
actions = [{ name = "track", title = "Track it", url = "{{ data.url }}" }, { name = "empty", title = "{{ data.no }}" }]
data = { order = "{{ data.id }}", nothing = "{{ data.no }}" }
+++
It is on its way,
{{ data.who }}.
"""
ITEM = "+++\ntitle = 'Item {{ data.id }}'\nurl = '/orders'\n+++\nfrom the inbox"
DATA = {"id": "7", "shop": "Octo", "url": "https://example.com/o/7", "who": "Ada"}


def renderer(**files: str) -> Renderer:
    names = {name.replace("__", "."): text for name, text in files.items()}
    templates = {f"templates/order/{name}.txt": text for name, text in names.items()}
    return Renderer(load({"ulak.toml": TOML, **templates}))


def context(**data: object) -> dict[str, object]:
    return {"data": {**DATA, **data}, "user": {"id": "u", "locale": None, "timezone": None}}


def test_every_key_has_its_place() -> None:
    made = renderer(push=PUSH).push("order", None, context())
    assert (made.title, made.subtitle, made.body) == ("Order 7", "Octo", "It is on its way,\nAda.")
    assert (made.url, made.icon, made.image) == (DATA["url"], "/icon.png", "https://cdn.example.com/7.png")
    assert (made.sound, made.color, made.thread, made.category) == (None, "#3366FF", "order-7", "ORDER")
    assert (made.android_channel, made.priority, made.interruption) == ("orders", "normal", "time-sensitive")
    assert (made.badge, made.silent) == (False, False)
    assert made.actions == (Action("track", "Track it", DATA["url"]),)
    assert made.data == {"order": "7"}


def test_a_plain_one_makes_a_sound_and_counts() -> None:
    made = renderer(push="+++\ntitle = 'Hi'\n+++\n").push("order", None, context())
    assert (made.title, made.body, made.sound, made.badge, made.actions, dict(made.data)) == (
        "Hi", "", "default", True, (), {},
    )  # fmt: skip


def test_the_language_is_the_users() -> None:
    made = renderer(push__en="+++\ntitle = 'Hello'\n+++\n", push__tr="+++\ntitle = 'Merhaba'\n+++\n")
    assert made.push("order", "tr-TR", context()).title == "Merhaba"
    assert made.push("order", "fr", context()).title == "Hello"


def test_without_a_push_template_the_inbox_item_speaks() -> None:
    made = renderer(in_app=ITEM).push("order", None, context())
    assert (made.title, made.body, made.url) == ("Item 7", "from the inbox", "/orders")


def test_a_push_template_of_another_language_goes_before_the_inbox_item() -> None:
    made = renderer(push__en="+++\ntitle = 'Pushed'\n+++\n", in_app__tr=ITEM)
    assert made.push("order", "tr", context()).title == "Pushed"


def test_data_brings_neither_lines_nor_schemes_nor_directions() -> None:
    made = renderer(push=PUSH).push("order", None, context(id="7\n\x00\u202ex", url="javascript:alert(1)"))
    assert made.title == "Order 7 x"
    assert made.url is None
    assert made.actions[0].url is None
    assert made.color == "#3366FF"


def test_a_color_is_a_color() -> None:
    made = renderer(push="+++\ntitle = 'x'\ncolor = '{{ data.color }}'\n+++\n")
    assert made.push("order", None, context(color="red; x")).color is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('priority = "urgent"', "must be one of high, normal, low"),
        ('badge = "no"', "must be true or false"),
        ('actions = [{ name = "x" }]', "must list tables with name and title"),
        ('actions = [{ name = "x", title = "y", titel = "z" }]', "has no key 'titel'"),
        ('colour = "#fff"', "unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_place(line: str, said: str) -> None:
    with pytest.raises(ProjectError) as caught:
        renderer(push=f"+++\ntitle = 'x'\n{line}\n+++\n")
    assert said in str(caught.value)


def test_a_type_without_any_template_is_refused() -> None:
    with pytest.raises(ProjectError, match="has no template for push"):
        renderer()


def test_it_can_be_previewed() -> None:
    seen = renderer(push=PUSH).preview("order", Channel.PUSH, None, {"id": 7})
    assert seen.content.title == "Order 7"  # type: ignore[union-attr]
    assert "data.url" in seen.missing


def test_what_the_engine_refuses_is_a_render_error() -> None:
    with pytest.raises(RenderError):
        renderer(push="+++\ntitle = 'x'\n+++\n{% for i in range(100000000) %}x{% endfor %}").push(
            "order", None, context()
        )


@pytest.mark.parametrize("before", [*range(280, 301, 3), 97, 3_998])
def test_no_text_ends_inside_of_a_character(before: int) -> None:
    family = "👨‍👩‍👧‍👦"
    files = "+++\ntitle = '{{ data.id }}'\nactions = [{ name = 'a', title = '{{ data.id }}' }]\n+++\n{{ data.id }}"
    made = renderer(push=files).push("order", None, context(id="x" * before + family * 5))
    texts = {300: made.title, 100: made.actions[0].title, 4_000: made.body}
    for most, text in texts.items():
        whole = min(5, max(0, most - before) // len(family))
        assert text == "x" * min(before, most) + family * whole
