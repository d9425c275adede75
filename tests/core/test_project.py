"""Is a good project folder read as meant, and is every mistake of a bad one told at once?"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core import fields, project_page
from ulak.core.model import Channel, Class, Mark, Step
from ulak.core.project import ProjectError, digest, load

ROOT = Path(__file__).parents[2]
GOOD = {
    "ulak.toml": """
[email]
from = "Octo <octo@example.com>"
[locales]
default = "en"
[accounts.mail]
channel = "email"
provider = "smtp"
host = "127.0.0.1"
password_env = "SMTP_PASSWORD"
timeout = 10
[accounts.spare]
channel = "email"
provider = "smtp"
reconcile_after = "2m"
[types.order_shipped]
category = "orders"
class = "transactional"
route = [{ channel = "in_app" }, { channel = "email", after = "10m", unless = "read" }]
[types.code]
category = "security"
class = "critical"
template = "order_shipped"
on_unknown = "stop"
route = [{ channel = "email" }]
[server]
port = 8000
""",
    "templates/order_shipped/in_app.en.txt": '+++\r\ntitle = "Shipped"\r\n+++\r\nYour order',
    "templates/order_shipped/in_app.tr.txt": '+++\ntitle = "Kargoda"\n+++\nSiparişin',
    "templates/order_shipped/email.md": '+++\nsubject = "Shipped: {{ data.id }}"\n+++\n# Hi',
}


def told(**changes: str) -> list[str]:
    """The mistakes of the good folder with some words of its main file replaced."""
    main = GOOD["ulak.toml"]
    for old, new in changes.items():
        assert old in main
        main = main.replace(old, new)
    with pytest.raises(ProjectError) as caught:
        load({**GOOD, "ulak.toml": main})
    return list(map(str, caught.value.problems))


def test_a_good_folder() -> None:
    catalog = load(GOOD)
    kind = catalog.type("order_shipped")
    assert kind is not None
    assert kind.route == (Step(Channel.IN_APP), Step(Channel.EMAIL, 600.0, Mark.READ))
    assert (kind.klass, kind.expires, kind.on_unknown, kind.template) == (
        Class.TRANSACTIONAL,
        86400.0,
        "resend",
        "order_shipped",
    )
    assert (catalog.types["code"].expires, catalog.types["code"].on_unknown) == (300.0, "stop")
    mail, spare = catalog.accounts_for("email")
    assert (mail.timeout, mail.reconcile_after, mail.bulkhead) == (10.0, 60.0, "email/mail")
    assert mail.settings == {"host": "127.0.0.1", "password_env": "SMTP_PASSWORD"}
    assert spare.reconcile_after == 120.0
    assert catalog.accounts_for(Channel.SMS) == ()
    assert catalog.type("x") is None
    assert (catalog.version, catalog.with_version(7).version) == (0, 7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        catalog.version = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("tag", "file"),
    [("tr-TR", "in_app.tr.txt"), ("de", "in_app.en.txt"), (None, "in_app.en.txt"), ("x!", "in_app.en.txt")],
)
def test_templates_fall_back(tag: str | None, file: str) -> None:
    found = load(GOOD).template("order_shipped", Channel.IN_APP, tag)
    assert found is not None
    assert found.file.endswith(file)


def test_every_mistake_is_told_at_once() -> None:
    problems = told(
        **{
            "[email]": "[emial]",
            "password_env": "password",
            "timeout": "timeuot",
            '"read"': '"raed"',
            '"critical"': '"urgent"',
            '"10m"': '"10 minutes"',
        }
    )
    assert problems == [
        "ulak.toml: emial: unknown table (did you mean 'email'?)",
        "ulak.toml: accounts.mail.timeuot: unknown key (did you mean 'timeout'?)",
        (
            "ulak.toml: accounts.mail.password: secrets don't belong into this file "
            '(write password_env = "NAME" and set that environment variable)'
        ),
        'ulak.toml: types.order_shipped.route[1].after: must be a duration such as "30s", "10m", "24h" or "7d"',
        (
            "ulak.toml: types.order_shipped.route[1].unless: must be one of delivered, seen, read, clicked "
            "(did you mean 'read'?)"
        ),
        "ulak.toml: types.code.class: must be one of critical, transactional, marketing",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('{ channel = "in_app" }', '{ channel = "in_app", unless = "seen" }', "the first step can't have it"),
        ("password_env", "service_account", "secrets don't belong into this file (write service_account_env"),
        ('after = "10m"', 'after = "25h"', "this step would never run"),
        ('after = "10m"', "after = -1", "between 0 seconds and 366 days"),
        ('after = "10m"', "after = true", "must be a duration"),
        ('after = "10m"', "after = nan", "between 0 seconds"),
        ('after = "10m"', "afer = 3", "unknown key (did you mean 'after'?)"),
        ('route = [{ channel = "email" }]', "route = []", "must list at least one step"),
        ('route = [{ channel = "email" }]', "", "types.code.route: is missing"),
        ('route = [{ channel = "email" }]', "route = [1]", "route[0]: must be a table"),
        ('[{ channel = "email" }]', '[{ channel = "email" }, { channel = "email" }]', "email comes twice"),
        ('[{ channel = "email" }]', '[{ channel = "pigeon" }]', "must be one of in_app, push"),
        ('"SMTP_PASSWORD"', '"not a name"', "the name of an environment variable"),
        (
            'template = "order_shipped"',
            'template = "order_shiped"',
            "no template for email; did you mean 'order_shipped'?",
        ),
        ("[types.code]", '[types."a b"]', "must be a name"),
        ('default = "en"', 'default = "english"', "must be a language tag"),
        ("Octo <octo@example.com>", "a@b.c, d@e.f", "must be one address"),
        ("[email]", "[email", "is not valid TOML"),
        ("[email]", "email = 3\n[emails]", "email: must be a table"),
        ("timeout = 10", "timeout = 0", "between 0.1 and 300 seconds"),
        ("timeout = 10", "concurrency = 1.5", "whole number from 1 to 1000"),
    ],
)
def test_a_mistake_in_the_main_file(old: str, new: str, message: str) -> None:
    assert message in "\n".join(told(**{old: new}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("templates/order_shipped/email.de.md", '+++\nsubjct = "x"\n+++\nx', "subject: is missing"),
        ("templates/order_shipped/email.de.md", '+++\nsubject = "{{ x"\n+++\nx', "subject: line 1"),
        (
            "templates/order_shipped/email.de.md",
            '+++\nsubject = "x"\n+++\na\n{{ y | uper }}',
            "body: line 5: there is no filter",
        ),
        ("templates/order_shipped/email.de.md", "+++\nsubject = \n+++\n", "front matter: is not valid TOML"),
        ("templates/order_shipped/email.de.md", "x" * 70_000, "is longer than"),
        ("templates/order_shipped/email.german.md", "", "'german' is no language tag"),
        ("templates/order_shipped/email.md.bak", "", "ends with .bak"),
        ("templates/order_shipped/emial.md", "", "did you mean 'email'?"),
        ("templates/order_shipped/email.html", '+++\nsubject = "x"\n+++\n', "stands beside"),
        ("templates/loose.md", "", "is no template's name"),
    ],
)
def test_a_mistake_in_a_template(name: str, content: str, message: str) -> None:
    with pytest.raises(ProjectError) as caught:
        load({**GOOD, name: content})
    assert message in str(caught.value)
    assert {problem.file for problem in caught.value.problems} <= {name, "templates/order_shipped/email.md"}


def test_an_empty_folder_and_a_missing_template() -> None:
    with pytest.raises(ProjectError, match=r"ulak\.toml: is missing"):
        load({})
    lacking = {name: text for name, text in GOOD.items() if "email" not in name}
    with pytest.raises(ProjectError, match=r"add templates/order_shipped/email\.en\.md or templates"):
        load(lacking)


def test_the_digest_is_of_names_and_texts() -> None:
    assert digest({"a": "bc"}) != digest({"ab": "c"})
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})
    assert load(GOOD).digest == digest(GOOD)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    for files in ({"ulak.toml": text}, {**GOOD, "templates/order_shipped/email.de.md": text}):
        with contextlib.suppress(ProjectError):
            load(files)


@given(st.integers(0, 366), st.sampled_from(sorted(fields.DURATION_UNITS)))
def test_durations(number: int, unit: str) -> None:
    assert fields.duration(f"{number}{unit}") == number * fields.DURATION_UNITS[unit]


def test_the_page_is_what_the_tables_say() -> None:
    committed = (ROOT / "docs/reference/project-file.md").read_text(encoding="utf-8")
    assert committed == project_page.page(), "run python -m tools.reference"
