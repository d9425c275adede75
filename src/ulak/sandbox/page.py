"""What does the mailbox page show, and how can no received mail act on it?

Everything is escaped; the HTML of a mail is shown from an address of its own in a frame without any rights,
and its answer carries a policy that forbids scripts, forms and every remote load.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from ulak.sandbox.mail import Mail
from ulak.sandbox.record import Received

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'"
MAIL_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"

_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Ulak sandbox: mailbox</title>
<style>
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .4rem .6rem;
  border-bottom: 1px solid #8884; vertical-align: top } .dim { opacity: .65 } pre { white-space: pre-wrap }
iframe { width: 100%; height: 28rem; border: 1px solid #8886; background: #fff }
</style>
"""


def listing(messages: Iterable[tuple[Received, Mail]], total: int) -> str:
    """The newest mails, one a row."""
    rows = [
        f'<tr><td class="dim">{received.at:%H:%M:%S}</td><td>{escape(", ".join(received.recipients))}</td>'
        f'<td><a href="/messages/{received.id}/view">{escape(mail.subject) or "(no subject)"}</a></td>'
        f'<td class="dim">{"" if received.answered else "unanswered"}</td></tr>'
        for received, mail in messages
    ]
    table = f"<table><tr><th>at<th>to<th>subject<th></tr>{''.join(rows)}</table>" if rows else "<p>No mail yet.</p>"
    return f"{_HEAD}<h1>Mailbox</h1><p>{total} received. Reload to see more.</p>{table}</html>"


def single(received: Received, mail: Mail) -> str:
    """One mail: header, text, HTML in a frame without rights."""
    fields = "".join(f"<tr><th>{escape(name)}<td>{escape(value)}</tr>" for name, value in mail.headers)
    html = "" if mail.html is None else (
        f'<h2>HTML</h2><iframe sandbox title="HTML of the mail" src="/messages/{received.id}/html"></iframe>'
    )  # fmt: skip
    text = "" if mail.text is None else f"<h2>Text</h2><pre>{escape(mail.text)}</pre>"
    return (
        f'{_HEAD}<p><a href="/">Mailbox</a> · <a href="/messages/{received.id}/raw">raw</a></p>'
        f"<h1>{escape(mail.subject) or '(no subject)'}</h1><table>{fields}</table>{html}{text}</html>"
    )
