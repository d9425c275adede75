"""Are layouts and partials put where templates ask for them, and is every mistake told?"""

from __future__ import annotations

import pytest

from ulak.core.model import Channel
from ulak.core.project import Catalog, ProjectError, load
from ulak.core.render import Renderer

MAIN = """
[email]
from = "Octo <octo@example.com>"
{email}
[types.t]
category = "c"
class = "transactional"
route = [{{ channel = "email" }}]
"""
FRONT = '+++\nsubject = "S {{ data.n }}"\n+++\n'
PAGE = "<title>{{ subject }}</title><body><i>{{ preheader }}</i><main>{{ content }}</main>"


def project(files: dict[str, str], email: str = "") -> Catalog:
    return load({"ulak.toml": MAIN.format(email=email), **{f"templates/{name}": text for name, text in files.items()}})


def mistakes(files: dict[str, str], email: str = "") -> list[str]:
    with pytest.raises(ProjectError) as caught:
        project(files, email)
    return [str(problem) for problem in caught.value.problems]


def html(catalog: Catalog, locale: str | None = None, **data: object) -> str:
    shown = Renderer(catalog).preview("t", Channel.EMAIL, locale, data)
    return getattr(shown.content, "html", None) or ""


def test_a_layout_stands_around_a_body_of_any_kind() -> None:
    front = '+++\nsubject = "S {{ data.n }}"\npreheader = "P {{ data.n }}"\nlayout = "base"\n+++\n'
    for name, body, inner in (
        ("email.md", "**{{ data.n }}**", "<p><strong>1</strong></p>"),
        ("email.html", "<b>{{ data.n }}</b>", "<b>1</b>"),
    ):
        page = html(project({f"t/{name}": front + body, "_layouts/base.html": PAGE}), n=1)
        assert f"<main>{inner}" in page
        assert "<title>S 1</title>" in page
        assert "<i>P 1</i>" in page
        assert page.count("P 1") == 1


def test_the_projects_layout_is_that_of_markdown_unless_it_says_none() -> None:
    files = {"_layouts/base.html": PAGE, "t/email.md": FRONT + "x"}
    assert "<main>" in html(project(files, 'layout = "base"'))
    assert "<main>" not in html(project(files))
    files["t/email.md"] = '+++\nsubject = "s"\nlayout = "none"\n+++\nx'
    assert "<main>" not in html(project(files, 'layout = "base"'))


def test_layouts_and_partials_follow_the_language_of_the_template() -> None:
    files = {
        "_layouts/base.html": "<p>any</p>{{ content }}",
        "_layouts/base.tr.html": "<p>türkçe</p>{{ content }}",
        "_partials/end.md": "bye",
        "_partials/end.tr.md": "hoşça kal",
        "t/email.en.md": FRONT + '{% include "end" %}',
        "t/email.tr.md": FRONT + '{% include "end" %}',
    }
    catalog = project(files, 'layout = "base"')
    assert "<p>any</p><p>bye</p>" in html(catalog, "en")
    assert "<p>türkçe</p><p>hoşça kal</p>" in html(catalog, "tr-TR")


def test_a_text_beside_a_layout_stands_around_the_text_part() -> None:
    files = {
        "_layouts/base.html": PAGE,
        "_layouts/base.txt": "== {{ subject }} ==\n\n{{ content }}\n\n-- \nOcto, {{ data.n }}",
        "t/email.md": FRONT + "Hello **you**",
    }
    content = Renderer(project(files, 'layout = "base"')).preview("t", Channel.EMAIL, None, {"n": 7}).content
    assert getattr(content, "text", "") == "== S 7 ==\n\nHello you\n\n--\nOcto, 7\n"


def test_partials_include_others_and_know_the_loop_they_stand_in() -> None:
    files = {
        "_partials/row.md": '- {{ item.name }} {% include "price" %}\n',
        "_partials/price.md": "{% set x = item.price %}{{ x }}",
        "t/email.md": FRONT + '{% for item in data.items -%}\n{% include "row" %}\n{% endfor %}\n{{ data.end }}',
    }
    page = html(project(files), items=[{"name": "A", "price": 1}, {"name": "B", "price": 2}], end="fin")
    assert "<li>A 1</li>" in page
    assert "<li>B 2</li>" in page


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"t/email.md": '+++\nsubject = "s"\nlayout = "bose"\n+++\nx', "_layouts/base.html": PAGE},
            "did you mean 'base'",
        ),
        (
            {"t/email.mjml": '+++\nsubject = "s"\nlayout = "base"\n+++\nx', "_layouts/base.html": PAGE},
            "for a .mjml file",
        ),
        ({"t/email.md": FRONT + '{% include "fooler" %}', "_partials/footer.md": "x"}, "did you mean 'footer'"),
        ({"t/email.txt": FRONT + '{% include "footer" %}', "_partials/footer.md": "x"}, "for a .txt file"),
        ({"t/email.md": FRONT + "{% include data.x %}"}, "an include names its partial"),
        ({"t/email.md": FRONT + '{% include "a" %}', "_partials/a.md": '{% include "a" %}'}, "include one another"),
        ({"t/email.md": FRONT + '{% include "a" %}', "_partials/a.md": "{{ nope.x }}"}, "'nope' is not defined"),
        ({"t/email.md": FRONT + "x", "_partials/a.md": "{{ data.x | uper }}"}, "there is no filter 'uper'"),
        ({"t/email.md": FRONT + "x", "_partials/a.pdf": "x"}, "is no name of a layout or partial"),
        ({"t/email.md": FRONT + "x", "_layouts/en/a.html": "x"}, "is no name of a layout or partial"),
        ({"t/email.md": FRONT + "x", "_layouts/a.html": "<p>no place</p>"}, "{{ content }} exactly once"),
        ({"t/email.md": FRONT + "x", "_layouts/a.html": "{{ content }}{{content}}"}, "{{ content }} exactly once"),
        ({"t/email.md": FRONT + "x", "_layouts/a.html": "{{ content }}{{ body }}"}, "'body' is not defined"),
        ({"t/email.md": FRONT + "x", "_partials/a.md": "x" * 70_000}, "is longer than"),
        (
            {
                "t/email.md": FRONT + '{% include "a" %}' * 10,
                "_partials/a.md": '{% include "b" %}' * 10,
                "_partials/b.md": "x" * 60_000,
            },
            "with its partials in place",
        ),
    ],
)
def test_a_mistake_is_told_with_what_helps(files: dict[str, str], told: str) -> None:
    found = mistakes(files)
    assert any(told in each for each in found), found


def test_what_partials_add_up_to_is_weighed() -> None:
    files = {
        "_partials/all.md": "{{ " + " ~ ".join(["item"] * 20) + " }}",
        "t/email.md": FRONT + '{% set item = data.a ~ data.b %}{% include "all" %}',
    }
    assert any("joins up to 40 values" in each for each in mistakes(files))
