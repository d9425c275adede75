"""What does the mailbox page show, and how can no received mail act on it?

Everything is escaped; the HTML of a mail is shown from an address of its own in a frame without any rights,
and its answer carries a policy that forbids scripts, forms and every remote load.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import msgspec

from ulak.sandbox.mail import Mail
from ulak.sandbox.push.devices import FakeDevice
from ulak.sandbox.pushed import Pushed
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


def listing(messages: Iterable[tuple[Received, Mail | Pushed]], total: int) -> str:
    """The newest mails and pushes, one a row."""
    rows = [
        f'<tr><td class="dim">{received.at:%H:%M:%S}</td><td>{_to(received)}</td>'
        f'<td><a href="/messages/{received.id}/view">{escape(_subject(mail))}</a></td>'
        f'<td class="dim">{"" if received.answered else "unanswered"}</td></tr>'
        for received, mail in messages
    ]
    table = f"<table><tr><th>at<th>to<th>subject<th></tr>{''.join(rows)}</table>" if rows else "<p>No mail yet.</p>"
    head = f'{_HEAD}<p><a href="/devices">Devices</a></p><h1>Mailbox</h1>'
    return f"{head}<p>{total} received. Reload to see more.</p>{table}</html>"


def devices(known: Iterable[FakeDevice], host: str) -> str:
    """The fake devices, and what each of them shows, newest first; ``host`` is where this page is."""
    parts = [
        f"<h2>{escape(device.name)}</h2><p class=dim>{escape(_about(device))}</p>"
        f"<ul>{''.join(map(_notice, reversed(device.shown.values())))}</ul>"
        for device in known
    ]
    make = f"curl -sS http://{host}/push/devices -H 'Content-Type: application/json' -d '{{\"kind\": \"apns\"}}'"
    none = f"<p>No device yet. Make one:</p><pre>{escape(make)}</pre>"
    return f'{_HEAD}<p><a href="/">Mailbox</a></p><h1>Devices</h1>{"".join(parts) or none}</html>'


def push(received: Received, pushed: Pushed) -> str:
    """One push: what is shown, what the service goes by, and what the app gets."""
    facts = {"device": pushed.device, "service": pushed.service, "delivery": pushed.delivery, **pushed.headers}
    fields = "".join(f"<tr><th>{escape(name)}<td>{escape(value)}</tr>" for name, value in facts.items() if value)
    payload = msgspec.json.format(msgspec.json.encode(pushed.payload), indent=2).decode()
    return (
        f'{_HEAD}<p><a href="/">Mailbox</a> · <a href="/devices">Devices</a> · '
        f'<a href="/messages/{received.id}/raw">raw</a></p><h1>{escape(_subject(pushed))}</h1>'
        f"<p>{escape(pushed.body)}</p><table>{fields}</table><h2>Payload</h2><pre>{escape(payload)}</pre></html>"
    )


def _subject(mail: Mail | Pushed) -> str:
    if isinstance(mail, Mail):
        return mail.subject or "(no subject)"
    return mail.title or mail.body or ("(silent push)" if mail.silent else "(no title)")


def _to(received: Received) -> str:
    whom = escape(", ".join(received.recipients))
    return f'{whom} <span class="dim">{escape(received.sender)}</span>' if received.channel == "push" else whom


def _about(device: FakeDevice) -> str:
    facts = [device.kind, device.app, device.state, "" if device.online else "offline", f"{device.received} received"]
    return " · ".join([*filter(None, facts), *([] if device.badge is None else [f"badge {device.badge}"])])


def _notice(pushed: Pushed) -> str:
    return f"<li><b>{escape(pushed.title)}</b> {escape(pushed.body)}</li>"


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
