"""Is a page that can't be sent told when its folder is read, and one that is too large before that?"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ulak.cli.apply import command

MAIN = """
[email]
from = "Octo <octo@example.com>"
[types.t]
category = "c"
class = "transactional"
route = [{ channel = "email" }]
"""


def checked(folder: Path, name: str, body: str) -> tuple[int, str]:
    (folder / "templates/t").mkdir(parents=True)
    (folder / "ulak.toml").write_text(MAIN)
    (folder / "templates/t" / name).write_text(f'+++\nsubject = "s"\n+++\n{body}')
    found = CliRunner().invoke(command, [str(folder), "--check"])
    return found.exit_code, found.output


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        ("email.mjml", "<mjml><mj-body><mj-section></mj-body></mjml>", "templates/t/email.mjml: body: mjml_broken"),
        ("email.html", '<p title="{{ data.x }}>x</p> "y"<b x="">', "missing quote near <p"),
        ("email.md", "<script>x</script>", "no mail program shows <script>"),
    ],
)
def test_a_broken_page_is_refused_with_its_file(tmp_path: Path, name: str, body: str, told: str) -> None:
    code, output = checked(tmp_path, name, body)
    assert (code, told in output) == (1, True), output


def test_a_large_page_is_warned_of(tmp_path: Path) -> None:
    code, output = checked(tmp_path, "email.html", "{% for x in range(4) %}" + "y" * 23_000 + "{% endfor %}")
    assert code == 0
    assert "warning: templates/t/email.html: body: the HTML has 92 kB" in output
    assert "nothing wrong: 1 types, 1 templates" in output
