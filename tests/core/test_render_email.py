"""Does an email hold all that its template asks for, is what is kept never another's, and is a bad page told early?"""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.content.email import ContentError, EmailContent, Linked
from ulak.core.content.headers import Facts
from ulak.core.content.mime import Stamp, build
from ulak.core.model import Channel
from ulak.core.project import ProjectError, load
from ulak.core.render import Renderer, RenderError

MAIN = """
[email]
from = "Octo <octo@example.com>"
[locales]
default = "en"
timezone = "Europe/Berlin"
[types.t]
category = "c"
class = "transactional"
route = [{ channel = "email" }]
"""
STAMP = Stamp(
    "ada@example.com", datetime(2026, 11, 22, tzinfo=UTC), "01", Facts("example.com", "d", "a", "t", "c", "x")
)


def renderer(front: str, body: str = "x", ending: str = "en.md", main: str = MAIN) -> Renderer:
    text = f"+++\n{front}\n+++\n{body}"
    return Renderer(load({"ulak.toml": main, f"templates/t/email.{ending}": text}))


def email(made: Renderer, locale: str | None = None, timezone: str | None = None, **data: Any) -> EmailContent:
    user = {"id": "u", "locale": locale, "timezone": timezone}
    ids = {"id": "ntf_1", "type": "t"}
    return made.email("t", locale, {"data": data, "user": user, "notification": ids, "actor": None})


FULL = """subject = "S"
attachments = [
  { url = "{{ data.bill }}", name = "bill {{ data.n }}.pdf", type = "application/pdf" },
  { url = "https://x.example/logo?for={{ data.n }}", inline = "logo" },
]
headers = { X-Order = "{{ data.n }}", X-None = "{{ data.none }}", References = "<{{ data.n }}@x.example>" }
tags = ["orders", "{{ data.kind }}", "{{ data.none }}"]
metadata = { order = "{{ data.n }}", none = "{{ data.none }}" }
stream = "outbound"
"""


def test_an_email_holds_all_that_its_front_matter_says() -> None:
    made = email(renderer(FULL), bill="https://x.example/7.pdf", n="7", kind="new")
    assert made.linked == (
        Linked("https://x.example/7.pdf", "bill 7.pdf", "application/pdf"),
        Linked("https://x.example/logo?for=7", None, None, "logo"),
    )
    assert made.headers == (("X-Order", "7"), ("References", "<7@x.example>"))
    assert (made.tags, made.metadata, made.stream) == (("orders", "new"), (("order", "7"),), "outbound")
    assert len(email(renderer(FULL), n="7").linked) == 1  # the data named no bill


@pytest.mark.parametrize("url", ["file:///etc/passwd", "javascript:x", "ftp://x.y/z", "//x.y/z", "mailto:a@b.cc", "x"])
def test_a_file_is_asked_for_over_http_only(url: str) -> None:
    with pytest.raises(RenderError) as caught:
        email(renderer(FULL), bill=url)
    assert caught.value.reason == "attachment_url"


@pytest.mark.parametrize(
    "value", ["a\r\nBcc: e@x.y", "=?utf-8?q?=0D=0ABcc:_e@x.y?=", "x" * 1_000_000, "\0", "ü\u2028b", "\ud800"]
)
def test_no_value_makes_a_header_wherever_it_stands(value: str) -> None:
    front = 'subject = "{{ data.v }}"\nfrom = "{{ data.v }} <octo@example.com>"\nreply_to = "{{ data.v }}"\n'
    front += 'preheader = "{{ data.v }}"\nheaders = { X-V = "{{ data.v }}" }\n'
    made = email(renderer(front, "{{ data.v }}"), v=value)
    message = message_from_bytes(build(made, STAMP), policy=default)
    expected = {
        "From", "To", "Subject", "Date", "MIME-Version", "Content-Language", "Message-ID", "Auto-Submitted", "List-Id",
        "Feedback-ID", "X-Ulak-Delivery", "X-Ulak-Attempt", "X-V", "Content-Type",
    }  # fmt: skip
    assert {name for name, _ in message.items()} <= expected
    assert len(message.items()) == len({name for name, _ in message.items()})
    assert message["From"].addresses[0].addr_spec == "octo@example.com"


@pytest.mark.parametrize("field", ["In-Reply-To", "References"])
def test_a_structured_header_is_refused_when_data_break_it(field: str) -> None:
    made = email(renderer(f'subject = "s"\nheaders = {{ {field} = "{{{{ data.v }}}}" }}'), v="=?utf-8?q?x?=")
    with pytest.raises(ContentError):
        build(made, STAMP)


@pytest.mark.parametrize(
    ("front", "told"),
    [
        ('attachments = [{ name = "x" }]', "must list tables with a url"),
        ('attachments = [{ url = "x", nmae = "y" }]', "did you mean 'name'"),
        ('attachments = [{ url = "x", inline = "a b" }]', "must name an inline image"),
        ('attachments = "x"', "must be a list"),
        ('headers = { Bcc = "x" }', "may name X-"),
        ('headers = { List-Unsubscribe = "x" }', "may name X-"),
        ('headers = { X-A = "1", x-a = "2" }', "names a header twice"),
        ('headers = { X-Ulak-Attempt = "1" }', "may name X-"),
        ('tags = ["{{ dta.x }}"]', "'dta' is not defined"),
        ('metadata = { "a b" = "1" }', "must have keys of letters"),
        ('tags = ["1","2","3","4","5","6","7","8","9","10","11"]', "at most 10"),
    ],
)
def test_a_mistake_of_the_front_matter_is_told(front: str, told: str) -> None:
    with pytest.raises(ProjectError, match=told):
        renderer(f'subject = "s"\n{front}')


def test_formats_follow_the_user_and_words_the_template() -> None:
    made = renderer(
        'subject = "{{ data.at | datetime }}"',
        "{{ data.sum | currency('EUR') }} {{ data.n | plural('# day', '# days') }}",
    )
    at = "2026-11-22T12:00:00Z"
    british = email(made, "en-GB", "Asia/Tokyo", at=at, sum=1234.5, n=2)
    assert (british.subject, british.text) == ("22 Nov 2026, 21:00", "€1,234.50 2 days\n")
    unknown = email(made, None, None, at=at, sum="1234.5", n=1)
    assert (unknown.subject, unknown.text) == ("Nov 22, 2026, 1:00 PM", "€1,234.50 1 day\n")
    hostile = email(made, "tlh", "../../etc", at={"x": 1}, sum="<b>", n=[1])
    assert (hostile.subject, hostile.text) == ("", "\n")


def test_only_templates_that_write_moments_want_to_know_the_time_zone() -> None:
    assert renderer('subject = "{{ data.at|date }}"').zoned("t", Channel.EMAIL, None)
    assert not renderer('subject = "{{ data.date }}"').zoned("t", Channel.EMAIL, None)


ROWS = """Hello {{ data.name }}{% if data.note %}

> {{ data.note }}
{% endif %}
{% for row in data.rows %}- [{{ row.name }}]({{ row.url }})
{% endfor %}
"""
ROW = st.fixed_dictionaries(
    {"name": st.text(max_size=9), "url": st.sampled_from(["https://x.y/", "javascript:x", "", "/p"])}
)
DATA = st.fixed_dictionaries(
    {"name": st.text(max_size=9), "note": st.text(max_size=9), "rows": st.lists(ROW, max_size=3)}
)
KEPT = renderer('subject = "{{ data.name }}"\npreheader = "{{ data.note }}"', ROWS)


@given(st.lists(DATA, min_size=2, max_size=4))
def test_what_is_kept_makes_the_same_as_what_is_new(many: list[dict[str, Any]]) -> None:
    for data in many:
        kept = email(KEPT, **data)
        KEPT._emails._kept.clear()
        assert email(KEPT, **data) == kept


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ulak.core.render_email.MAX_KEPT", 20_000)
    made = renderer('subject = "s"', ROWS)
    for many in range(60):
        email(made, rows=[{"name": "n", "url": "/"}] * many)
    assert sum(each.size for each in made._emails._kept.values()) <= 20_000
    assert len(made._emails._kept) > 1


def test_one_skeleton_serves_all_values() -> None:
    made = renderer('subject = "{{ data.name }}"', ROWS)
    for name in "abc":
        assert name in email(made, name=name).text
    assert len(made._emails._kept) == 1


@pytest.mark.parametrize(
    ("ending", "body", "told"),
    [
        ("en.mjml", "<mjml><mj-body><mj-section></mj-body></mjml>", "mjml_broken"),
        ("en.mjml", "<mjml><mj-body>{% if data.n + 1 > 1 %}<mj-text>{% endif %}</mj-body></mjml>", "mjml_broken"),
        ("en.html", "<script>x</script>", "html_unsupported"),
        ("en.md", "<iframe src=x></iframe>", "html_unsupported"),
        ("en.md", "{{ data.at | date('huge') }}", "the width must be one of short, medium, long, full"),
        ("en.md", "{{ data.n | number(99) }}", "digits must be from 0"),
        ("en.html", "{% for x in range(4) %}" + "y" * 26_000 + "{% endfor %}", "Gmail"),
    ],
)
def test_a_page_that_no_data_can_mend_is_told_when_the_folder_is_checked(ending: str, body: str, told: str) -> None:
    made = renderer('subject = "s"', body, ending).check()
    assert [told in str(problem) for problem in made.problems] == [True]


def test_a_large_page_is_a_warning_and_data_that_is_missing_no_problem() -> None:
    large = renderer('subject = "s"', "{% for x in range(4) %}" + "y" * 23_000 + "{% endfor %}", "html")
    assert (large.check().problems, len(large.check().warnings)) == ((), 1)
    assert "Gmail" in large.preview("t", Channel.EMAIL, None, {}).warnings[0]
    made = renderer(
        'subject = "s"', "{{ data.n + 1 }}{{ data.s | truncate('x') }}{{ data.at | date(data.width) }}", "html"
    )
    assert made.check().problems == ()
    assert renderer('subject = "s"').preview("t", Channel.EMAIL, None, {}).warnings == ()
