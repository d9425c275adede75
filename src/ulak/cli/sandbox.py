"""How are the fake vendors run as a process of their own?"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ulak.cli.common import PORT

if TYPE_CHECKING:
    from ulak.sandbox.server import Options


@click.command(name="sandbox")
@click.option("--smtp-port", default=1025, type=PORT, show_default=True, help="0 takes any free port.")
@click.option(
    "--http-port", default=8025, type=PORT, show_default=True, help="Mailbox page and API; 0 takes any free port."
)
@click.option(
    "--vendor-port", default=8026, type=PORT, show_default=True, help="The vendors' HTTP APIs; 0 takes any free port."
)
@click.option(
    "--push-port", default=8027, type=PORT, show_default=True, help="First of four of the push services; 0: any free."
)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Append what is received to this file.")
@click.option("--login", metavar="USER:PASSWORD", help="Offer AUTH and want it.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Offer STARTTLS with this certificate.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="The certificate's key.")
def command(  # noqa: PLR0913 - one for each option
    *,
    smtp_port: int,
    http_port: int,
    vendor_port: int,
    push_port: int,
    log: Path | None,
    login: str | None,
    tls_cert: str | None,
    tls_key: str | None,
) -> None:
    """Run the fake vendors on loopback, and show what they received.

    When all ports answer, one JSON line tells them: {"smtp_port": …, "http_port": …, "url": …, "vendors_url": …,
    "push": {"apns": …, "apns_sandbox": …, "fcm": …, "webpush": …, "ca": …}}.
    """
    import ssl

    from ulak.sandbox.server import Options
    from ulak.sandbox.smtp import Rules

    context: ssl.SSLContext | None = None
    if tls_cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls_cert, tls_key)
    rules = Rules(login=_login(login), starttls=context)
    options = Options(
        smtp_port=smtp_port, http_port=http_port, vendor_port=vendor_port, push_port=push_port, log=log, rules=rules
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_serve(options))
        except OSError as error:  # a port that is taken, a log that can't be opened
            raise click.ClickException(f"{error.filename or 'sandbox'}: {error.strerror or error}") from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    return uvloop.new_event_loop


def _login(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not user or not colon:
        raise click.BadParameter("say USER:PASSWORD", param_hint="--login")
    return user, password


async def _serve(options: Options) -> None:
    from ulak.sandbox.server import Sandbox

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Sandbox(options) as sandbox:
        ready = {
            "smtp_port": sandbox.smtp_port,
            "http_port": sandbox.http_port,
            "url": sandbox.url,
            "vendors_url": sandbox.vendors_url,
            "push": dict(sandbox.push.places),
        }
        click.echo(json.dumps(ready))
        await stop.wait()
