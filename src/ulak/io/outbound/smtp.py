"""What came back from one SMTP transaction, and could the server have taken the message?

The server is bound by the final dot of DATA and by nothing before it. So the text goes out first, is waited
for until it has left our buffers, and only then the dot follows: whatever fails earlier is
``Lost(NOT_SENT)``, whatever fails later ``Lost(SENT)``. Each command is driven alone, so that the stage of a
reply is certain; a refusal is a reply, not an exception.

Connections are kept and reused, at most ``concurrency`` of the account. After anything but a plain 250 a
connection is reset (RSET) before its next message, or thrown away. A kept connection that turns out dead
before the server has answered its MAIL is replaced once, silently: servers hang up on idle clients.

Cancelling ``send`` closes its connection; whether the message was taken is then for the attempt's row to find
out. Nothing here logs, and no reason or detail of ours names an address.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPException,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from ulak.core.model import Account
from ulak.providers.contract import Lost, Phase, SmtpReply, SmtpRequest, Stage

CONNECT_SECONDS = 10.0
MAX_MESSAGES = 100
IDLE_SECONDS = 30.0
"""Shorter than the five minutes that RFC 5321 §4.5.3.2.7 asks of servers; many hang up after one."""
QUIT_SECONDS = 1.0
WRITE_CHUNK = 65_536


@dataclass(slots=True)
class _Line:
    """A connection with its history."""

    client: SMTP
    messages: int = 0
    dirty: bool = False
    idle_since: float = 0.0
    fresh: bool = True


@dataclass(slots=True)
class _Progress:
    """How far one ``send`` has come; ``bound`` from the moment the final dot is handed to the system."""

    stage: Stage = Stage.CONNECT
    bound: bool = False
    line: _Line | None = field(default=None, repr=False)

    def lost(self, reason: str) -> Lost:
        return Lost(Phase.SENT if self.bound else Phase.NOT_SENT, reason, f"at {self.stage}")


class _Answered(Exception):
    """No error: a reply other than the one that lets the transaction go on."""

    def __init__(self, reply: SmtpReply) -> None:
        self.reply = reply


class SmtpSender:
    """A pool of connections to the server of one account.

    ``account.settings`` are those that ``providers.email.smtp.check`` has passed, with ``password`` in place
    of ``password_env``. ``tls_context`` replaces the one made from the system's certificates and ``ca_file``.
    """

    def __init__(self, account: Account, *, tls_context: ssl.SSLContext | None = None) -> None:
        settings = account.settings
        self._host = str(settings["host"])
        self._tls = str(settings.get("tls", "starttls"))
        self._port = int(str(settings.get("port", {"starttls": 587, "tls": 465}.get(self._tls, 25))))
        self._hello = str(settings.get("hello", "")) or "[127.0.0.1]"
        self._username = settings.get("username")
        self._password = settings.get("password")
        self._ca_file = settings.get("ca_file")
        self._connect_seconds = float(str(settings.get("connect_timeout", CONNECT_SECONDS)))
        self._max_messages = int(str(settings.get("max_messages", MAX_MESSAGES)))
        self._idle_seconds = float(str(settings.get("idle", IDLE_SECONDS)))
        self._context = tls_context
        self._context_lock = asyncio.Lock()
        self._slots = asyncio.Semaphore(account.concurrency)
        self._idle: list[_Line] = []
        self._closed = False

    async def send(self, request: SmtpRequest, deadline: float) -> SmtpReply | Lost:
        """Run one transaction within ``deadline`` seconds, waiting for a free connection included.

        Returns the reply that decided it, or how it was lost. Raises ``CancelledError`` only.
        """
        progress = _Progress()
        try:
            async with asyncio.timeout(deadline), self._slots:
                return await self._exchange(request, progress)
        except TimeoutError:
            return progress.lost("timeout")
        finally:
            # Whatever ended the transaction early, an answer may still be under way on this line.
            if progress.line is not None:
                progress.line.client.close()

    async def close(self) -> None:
        """Say goodbye on idle connections; those at work end with their transaction."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_quit(line) for line in idle))

    # One transaction

    async def _exchange(self, request: SmtpRequest, progress: _Progress) -> SmtpReply | Lost:
        while True:
            try:
                line = await self._take(progress)
                progress.line = line
                reply = await self._transact(line, request, progress)
            except _Answered as answered:
                reply = answered.reply
                if progress.line is None:
                    return reply  # the connection was never ours to keep
            except (SMTPException, OSError, ValueError) as error:
                if self._was_stale(progress):
                    self._drop(progress)
                    continue
                return progress.lost(_reason(error))
            line = progress.line
            if reply.code == 421 and reply.stage is Stage.MAIL and not line.fresh:
                self._drop(progress)  # "closing idle connection" came before our command
                continue
            self._give_back(line, reply)
            progress.line = None
            return reply

    async def _transact(self, line: _Line, request: SmtpRequest, progress: _Progress) -> SmtpReply:
        client = line.client
        progress.stage = Stage.MAIL
        size = f" SIZE={len(request.message)}" if client.supports_extension("size") else ""
        await self._command(progress, client, f"MAIL FROM:<{request.sender}>{size}", 250)
        progress.stage = Stage.RCPT
        await self._command(progress, client, f"RCPT TO:<{request.recipient}>", 250, 251)
        progress.stage = Stage.DATA
        await self._command(progress, client, "DATA", 354)
        return await self._text(client, request.message, progress)

    async def _command(self, progress: _Progress, client: SMTP, command: str, *go_on: int) -> None:
        try:
            code, text = await client.execute_command(command.encode("ascii"), timeout=None)
        except SMTPResponseException as error:  # the reply was not SMTP
            raise _Answered(SmtpReply(progress.stage, error.code, error.message)) from None
        if code not in go_on:
            raise _Answered(SmtpReply(progress.stage, code, text))

    async def _text(self, client: SMTP, message: bytes, progress: _Progress) -> SmtpReply:
        """Send the text, wait until it has left, send the dot, wait for the verdict."""
        protocol, transport = client.protocol, cast("asyncio.WriteTransport | None", client.transport)
        if protocol is None or transport is None:
            raise SMTPServerDisconnected("Connection lost")
        text = _stuffed(message)
        transport.set_write_buffer_limits(high=1, low=0)  # under TLS, high=0 would pause for good
        for at in range(0, len(text), WRITE_CHUNK):
            protocol.write(text[at : at + WRITE_CHUNK])
            # The library has flow control but no public way to wait for it.
            await protocol._drain_helper()  # noqa: SLF001
        progress.stage = Stage.END
        if not client.is_connected:
            raise SMTPServerDisconnected("Connection lost")
        progress.bound = True
        protocol.write(b".\r\n")
        try:
            code, said = await protocol.read_response(timeout=None)
        except SMTPResponseException as error:
            raise _Answered(SmtpReply(Stage.END, error.code, error.message)) from None
        return SmtpReply(Stage.END, code, said)

    # Connections

    async def _take(self, progress: _Progress) -> _Line:
        """A connection that is ready for MAIL: a kept one, reset if need be, or a new one."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            line = self._idle.pop()
            if not line.client.is_connected or now - line.idle_since >= self._idle_seconds:
                line.client.close()
                continue
            line.fresh = False
            progress.line = line
            if await _is_clean(line):
                return line
            line.client.close()
            progress.line = None
        return await self._connect(progress)

    async def _connect(self, progress: _Progress) -> _Line:
        client = SMTP(
            hostname=self._host,
            port=self._port,
            local_hostname=self._hello,
            use_tls=self._tls == "tls",
            start_tls=False,
            tls_context=await self._tls_context() if self._tls != "none" else None,
            timeout=None,
        )
        try:
            await self._at(progress, Stage.CONNECT, client.connect(timeout=self._connect_seconds))
            await self._at(progress, Stage.GREETING, client.ehlo(timeout=self._connect_seconds))
            if self._tls == "starttls":
                await self._encrypt(progress, client)
            if self._username is not None:
                await self._log_in(progress, client)
        except BaseException:
            client.close()
            raise
        return _Line(client)

    async def _at(self, progress: _Progress, stage: Stage, step: Awaitable[object]) -> None:
        """Run a step of connecting, with refusals told as replies of that stage."""
        progress.stage = stage
        try:
            await step
        except SMTPResponseException as error:
            said_at = Stage.GREETING if stage is Stage.CONNECT else stage
            raise _Answered(SmtpReply(said_at, error.code, error.message)) from None

    async def _encrypt(self, progress: _Progress, client: SMTP) -> None:
        progress.stage = Stage.TLS
        if not client.supports_extension("starttls"):
            raise _Unavailable("tls_unavailable")
        await self._at(progress, Stage.TLS, client.starttls(timeout=self._connect_seconds))
        await self._at(progress, Stage.GREETING, client.ehlo(timeout=self._connect_seconds))

    async def _log_in(self, progress: _Progress, client: SMTP) -> None:
        """Try one mechanism only: further tries with the same password are what locks accounts."""
        progress.stage = Stage.AUTH
        offered = client.server_auth_methods
        methods: dict[str, Callable[..., Awaitable[object]]] = {
            "plain": client.auth_plain,
            "login": client.auth_login,
            "cram-md5": client.auth_crammd5,
        }
        method = next((methods[name] for name in methods if name in offered), None)
        if method is None:
            raise _Unavailable("auth_unavailable")
        try:
            await method(str(self._username), str(self._password), timeout=self._connect_seconds)
        except SMTPAuthenticationError as error:
            raise _Answered(SmtpReply(Stage.AUTH, error.code, error.message)) from None

    async def _tls_context(self) -> ssl.SSLContext:
        async with self._context_lock:
            if self._context is None:
                cafile = None if self._ca_file is None else str(self._ca_file)
                self._context = await asyncio.to_thread(ssl.create_default_context, cafile=cafile)
            return self._context

    def _was_stale(self, progress: _Progress) -> bool:
        line = progress.line
        return line is not None and not line.fresh and progress.stage in {Stage.CONNECT, Stage.MAIL}

    def _drop(self, progress: _Progress) -> None:
        if progress.line is not None:
            progress.line.client.close()
        progress.line = None
        progress.stage = Stage.CONNECT

    def _give_back(self, line: _Line, reply: SmtpReply) -> None:
        """Keep a connection for the next message, unless it is closed, worn out or said goodbye."""
        line.messages += 1
        line.dirty = (reply.stage, reply.code) != (Stage.END, 250)
        line.idle_since = asyncio.get_running_loop().time()
        sane = 200 <= reply.code <= 599 and reply.code != 421
        if self._closed or not sane or line.messages >= self._max_messages or not line.client.is_connected:
            line.client.close()
        else:
            self._idle.append(line)
        while self._idle and line.idle_since - self._idle[0].idle_since > self._idle_seconds:
            self._idle.pop(0).client.close()


class _Unavailable(SMTPException):
    """The server does not offer what the account demands; ``message`` is the reason."""


def _stuffed(message: bytes) -> bytes:
    """The text with a dot before each line that opens with one (RFC 5321 §4.5.2).

    Raises ``ValueError`` for a line that does not end in CRLF: the next server might read it as another end
    of the message, and what follows as commands. The builder makes no such text; this is the last place to look.
    """
    ends = message.count(b"\r\n")
    if message.count(b"\n") != ends or message.count(b"\r") != ends or not message.endswith(b"\r\n"):
        raise ValueError("unsafe_message")
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


async def _is_clean(line: _Line) -> bool:
    """Whether a kept connection is ready for MAIL, after RSET where the last transaction ended badly."""
    if not line.dirty:
        return True
    try:
        code, _ = await line.client.execute_command(b"RSET", timeout=QUIT_SECONDS)
    except (SMTPException, OSError):
        return False
    line.dirty = False
    return code == 250


async def _quit(line: _Line) -> None:
    try:
        await line.client.quit(timeout=QUIT_SECONDS)
    except (SMTPException, OSError):
        line.client.close()


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "dns_failed"),
    (ssl.SSLError, "tls_failed"),
    (ConnectionRefusedError, "connect_refused"),
    (SMTPTimeoutError, "timeout"),
    (TimeoutError, "timeout"),
    (SMTPServerDisconnected, "disconnected"),
    (ConnectionError, "disconnected"),
    (OSError, "connect_failed"),
)
"""The one table of foreign exceptions; the cause of a failed connect counts before its wrapper."""


def _reason(error: BaseException) -> str:
    if isinstance(error, _Unavailable):
        return error.message
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return "unsafe_request"
    chain = [error] if error.__cause__ is None or not isinstance(error, SMTPConnectError) else [error.__cause__, error]
    for one in chain:
        for kind, reason in _REASONS:
            if isinstance(one, kind):
                return reason
    return "protocol_error"
