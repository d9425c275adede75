"""Does the sender tell every way to fail apart, and is the message's fate in it always the truth?

The sandbox is the other side: its record knows what was really taken.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import eventually
from tests.tls import certificate
from ulak.core.model import Account, Channel
from ulak.io.outbound.discard import DiscardSender
from ulak.io.outbound.smtp import SmtpSender
from ulak.providers.contract import Discarded, DiscardRequest, Lost, Phase, SmtpReply, SmtpRequest, Stage
from ulak.sandbox.faults import decode
from ulak.sandbox.server import Options, Sandbox
from ulak.sandbox.smtp import Rules

pytestmark = pytest.mark.anyio

MESSAGE = b"From: o@example.com\r\nTo: ada@example.com\r\nSubject: s\r\n\r\n.dot\r\n..two\r\n.\r\nend\r\n"
REQUEST = SmtpRequest("o@example.com", "ada@example.com", MESSAGE)
BIG = SmtpRequest("o@example.com", "ada@example.com", MESSAGE + (b"x" * 70 + b"\r\n") * 130_000)

Make = Callable[..., Awaitable[tuple[Sandbox, SmtpSender]]]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both loops: their transports buffer, pause and fail in different ways."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Start a sandbox with faults and a sender for it; both are closed behind the test."""
    async with AsyncExitStack() as stack:

        async def start(
            *faults: dict[str, Any],
            settings: dict[str, Any] | None = None,
            options: Options | None = None,
            concurrency: int = 4,
            context: ssl.SSLContext | None = None,
        ) -> tuple[Sandbox, SmtpSender]:
            sandbox = await stack.enter_async_context(Sandbox(options or Options(http_port=None)))
            sandbox.faults.arm(decode(list(faults)))
            given = {"host": "127.0.0.1", "port": sandbox.smtp_port, "tls": "none", **(settings or {})}
            account = Account("mail", "smtp", Channel.EMAIL, concurrency=concurrency, settings=given)
            sender = SmtpSender(account, tls_context=context)
            stack.push_async_callback(sender.close)
            return sandbox, sender

        yield start


async def test_a_message_arrives_as_it_was(make: Make) -> None:
    sandbox, sender = await make()
    assert await sender.send(REQUEST, 30) == SmtpReply(Stage.END, 250, "2.0.0 Ok: queued as m1")
    (received,) = sandbox.record.after(0, 9)
    assert (received.raw, received.sender, received.recipients) == (MESSAGE, "o@example.com", ("ada@example.com",))
    assert received.answered


async def test_one_connection_carries_many_messages_and_is_worn_out_in_time(make: Make) -> None:
    sandbox, sender = await make(settings={"max_messages": 3})
    for _ in range(7):
        assert isinstance(await sender.send(REQUEST, 30), SmtpReply)
    assert [(r.connection, r.seq) for r in sandbox.record.after(0, 9)] == [
        (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1),
    ]  # fmt: skip


async def test_no_more_connections_than_the_account_allows(make: Make) -> None:
    sandbox, sender = await make({"at": "end", "do": "stall", "seconds": 0.02}, concurrency=3)
    replies = await asyncio.gather(*(sender.send(REQUEST, 30) for _ in range(30)))
    assert all(isinstance(reply, SmtpReply) and reply.code == 250 for reply in replies)
    assert {r.connection for r in sandbox.record.after(0, 99)} == {1, 2, 3}


REFUSALS: list[tuple[str, int, Stage]] = [
    ("connect", 554, Stage.GREETING),
    ("ehlo", 550, Stage.GREETING),
    ("mail", 451, Stage.MAIL),
    ("rcpt", 550, Stage.RCPT),
    ("data", 452, Stage.DATA),
    ("end", 554, Stage.END),
    ("connect", 421, Stage.GREETING),
    ("mail", 421, Stage.MAIL),
    ("rcpt", 421, Stage.RCPT),
    ("end", 421, Stage.END),
    ("end", 251, Stage.END),
]


@pytest.mark.parametrize(("at", "code", "stage"), REFUSALS, ids=[f"{at}-{code}" for at, code, _ in REFUSALS])
async def test_a_refusal_names_its_stage_and_the_next_message_goes_through(
    make: Make, at: str, code: int, stage: Stage
) -> None:
    sandbox, sender = await make({"at": at, "do": "reply", "code": code, "text": "5.1.1 no", "times": 1})
    assert await sender.send(REQUEST, 30) == SmtpReply(stage, code, "5.1.1 no")
    assert sandbox.record.total == 0
    assert await sender.send(REQUEST, 30) == SmtpReply(Stage.END, 250, "2.0.0 Ok: queued as m1")


async def test_after_a_refusal_the_connection_is_reset_and_kept(make: Make) -> None:
    sandbox, sender = await make({"at": "data", "do": "reply", "code": 451, "every": 2})
    for _ in range(6):
        await sender.send(REQUEST, 30)
    # Without the RSET the next MAIL would be out of order, and be refused with 503.
    assert [(r.connection, r.seq) for r in sandbox.record.after(0, 9)] == [(1, 1), (1, 2), (1, 3)]


LOSSES: list[tuple[str, Phase, bool]] = [
    ("connect", Phase.NOT_SENT, False),
    ("ehlo", Phase.NOT_SENT, False),
    ("mail", Phase.NOT_SENT, False),
    ("rcpt", Phase.NOT_SENT, False),
    ("data", Phase.NOT_SENT, False),
    ("end", Phase.SENT, True),
    ("end", Phase.SENT, False),
]


@pytest.mark.parametrize(("at", "phase", "take"), LOSSES, ids=[f"{at}-{take}" for at, _, take in LOSSES])
@pytest.mark.parametrize("do", ["drop", "stall"])
async def test_a_lost_connection_is_sent_only_after_the_final_dot(
    make: Make, at: str, phase: Phase, take: bool, do: str
) -> None:
    sandbox, sender = await make({"at": at, "do": do, "take": take, "times": 1})
    lost = await sender.send(REQUEST, 0.3 if do == "stall" else 5)
    assert isinstance(lost, Lost)
    assert (lost.phase, lost.reason) == (phase, "timeout" if do == "stall" else "disconnected")
    assert "@" not in lost.reason + lost.detail
    assert sandbox.record.total == int(take)
    assert not any(received.answered for received in sandbox.record.after(0, 9))
    assert await sender.send(REQUEST, 30) == SmtpReply(Stage.END, 250, f"2.0.0 Ok: queued as m{1 + take}")


@pytest.mark.parametrize("do", ["drop", "stall"])
async def test_a_loss_in_the_middle_of_a_big_text_is_not_sent(make: Make, do: str) -> None:
    """The text is larger than every buffer on the way, so its end and the dot cannot have left."""
    sandbox, sender = await make({"at": "body", "do": do, "times": 1})
    lost = await sender.send(BIG, 0.5 if do == "stall" else 10)
    assert isinstance(lost, Lost)
    assert (lost.phase, lost.reason) == (Phase.NOT_SENT, "timeout" if do == "stall" else "disconnected")
    assert sandbox.record.total == 0
    assert isinstance(await sender.send(BIG, 20), SmtpReply)
    assert next(iter(sandbox.record.after(0, 1))).raw == BIG.message


async def test_a_kept_connection_that_died_is_replaced_silently(make: Make) -> None:
    sandbox, sender = await make({"at": "mail", "do": "drop", "skip": 1, "times": 1})
    for number in (1, 2, 3):
        assert await sender.send(REQUEST, 30) == SmtpReply(Stage.END, 250, f"2.0.0 Ok: queued as m{number}")
    assert [r.connection for r in sandbox.record.after(0, 9)] == [1, 2, 2]


async def test_a_goodbye_to_a_kept_connection_is_not_the_messages_fault(make: Make) -> None:
    sandbox, sender = await make({"at": "mail", "do": "reply", "code": 421, "skip": 1, "times": 1})
    for _ in range(2):
        reply = await sender.send(REQUEST, 30)
        assert isinstance(reply, SmtpReply)
        assert reply.code == 250
    assert [r.connection for r in sandbox.record.after(0, 9)] == [1, 2]


async def test_an_idle_connection_is_not_trusted_for_long(make: Make) -> None:
    sandbox, sender = await make(settings={"idle": 0})
    for _ in range(2):
        await sender.send(REQUEST, 30)
    assert [r.connection for r in sandbox.record.after(0, 9)] == [1, 2]


async def test_cancelling_closes_the_connection_and_keeps_the_pool_usable(make: Make) -> None:
    sandbox, sender = await make({"at": "end", "do": "stall", "times": 1}, concurrency=1)
    sending = asyncio.create_task(sender.send(REQUEST, 30))
    await eventually(lambda: sandbox.record.total == 1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert await sender.send(REQUEST, 30) == SmtpReply(Stage.END, 250, "2.0.0 Ok: queued as m2")
    assert [r.connection for r in sandbox.record.after(0, 9)] == [1, 2]


async def test_waiting_for_a_free_connection_is_part_of_the_deadline(make: Make) -> None:
    _, sender = await make({"at": "end", "do": "stall", "times": 1}, concurrency=1)
    first = asyncio.create_task(sender.send(REQUEST, 30))
    assert await asyncio.wait_for(sender.send(REQUEST, 0.2), 30) == Lost(Phase.NOT_SENT, "timeout", "at connect")
    first.cancel()
    await asyncio.wait([first])


async def test_nobody_listening(make: Make) -> None:
    sandbox, sender = await make()
    await sandbox.close()
    assert await sender.send(REQUEST, 30) == Lost(Phase.NOT_SENT, "connect_refused", "at connect")


async def test_an_unknown_host() -> None:
    account = Account("mail", "smtp", Channel.EMAIL, settings={"host": "no-such-host.invalid", "tls": "none"})
    lost = await SmtpSender(account).send(REQUEST, 60)
    assert isinstance(lost, Lost)
    assert (lost.phase, lost.reason) == (Phase.NOT_SENT, "dns_failed")


async def test_a_host_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {"host": "127.0.0.1", "port": silent.getsockname()[1], "tls": "none", "connect_timeout": 0.2}
        sender = SmtpSender(Account("mail", "smtp", Channel.EMAIL, settings=settings))
        assert await sender.send(REQUEST, 30) == Lost(Phase.NOT_SENT, "timeout", "at connect")


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[SmtpSender]:
    """A peer that says one thing after each line, whatever was asked."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            writer.write(answer)
            await reader.readline()
        writer.close()
        await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    settings = {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1], "tls": "none"}
    sender = SmtpSender(Account("mail", "smtp", Channel.EMAIL, settings=settings))
    try:
        yield sender
    finally:
        await sender.close()
        server.close()
        await asyncio.wait_for(over.wait(), 30)


@pytest.mark.parametrize(
    ("answers", "stage"),
    [
        ([b"hello there\r\n"], Stage.GREETING),
        ([b"220 x\r\n", b"what?\r\n"], Stage.GREETING),
        ([b"220 x\r\n", b"250 x\r\n", b"what?\r\n"], Stage.MAIL),
        ([b"220 x\r\n", b"250 x\r\n", b"250 x\r\n", b"\xff\xfe\r\n"], Stage.RCPT),
    ],
)
async def test_answers_that_are_not_smtp(answers: list[bytes], stage: Stage) -> None:
    async with scripted(*answers) as sender:
        reply = await sender.send(REQUEST, 30)
        assert isinstance(reply, SmtpReply)
        assert (reply.stage, reply.code) == (stage, -1)


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE + b"bare\nline\r\n",
        MESSAGE + b"bare\rreturn\r\n",
        MESSAGE + b"x\n.\nMAIL FROM:<e@x.y>\r\n",
        MESSAGE[:-2],
    ],
)
async def test_a_text_that_could_smuggle_another_is_not_sent(make: Make, message: bytes) -> None:
    sandbox, sender = await make()
    lost = await sender.send(SmtpRequest("o@example.com", "ada@example.com", message), 5)
    assert lost == Lost(Phase.NOT_SENT, "unsafe_request", "at data")
    assert sandbox.record.total == 0


@pytest.mark.parametrize("address", ["ada@example.com>\r\nRCPT TO:<e@x.y", "ada@exämple.com"])
async def test_an_address_that_could_be_a_command_is_not_sent(make: Make, address: str) -> None:
    sandbox, sender = await make()
    lost = await sender.send(SmtpRequest("o@example.com", address, MESSAGE), 5)
    assert lost == Lost(Phase.NOT_SENT, "unsafe_request", "at rcpt")
    assert sandbox.record.total == 0


# Encryption and authentication


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's context for 127.0.0.1, and the file of the certificate to trust."""
    return certificate(tmp_path_factory.mktemp("tls"))


LOGIN = {"username": "ulak", "password": "geheim"}


@pytest.mark.parametrize("mode", ["starttls", "tls"])
async def test_encrypted_and_authenticated(make: Make, tls: tuple[ssl.SSLContext, Path], mode: str) -> None:
    context, trusted = tls
    rules = Rules(login=("ulak", "geheim"), starttls=context if mode == "starttls" else None)
    options = Options(http_port=None, rules=rules, tls=context if mode == "tls" else None)
    sandbox, sender = await make(options=options, settings={"tls": mode, "ca_file": str(trusted), **LOGIN})
    for _ in range(2):
        reply = await sender.send(REQUEST, 30)
        assert isinstance(reply, SmtpReply)
        assert reply.code == 250
    assert [r.connection for r in sandbox.record.after(0, 9)] == [1, 1]
    big = await sender.send(BIG, 20)
    assert isinstance(big, SmtpReply)


async def test_a_big_text_stalled_under_tls_is_not_sent(make: Make, tls: tuple[ssl.SSLContext, Path]) -> None:
    context, trusted = tls
    sandbox, sender = await make(
        {"at": "body", "do": "stall"},
        options=Options(http_port=None, tls=context),
        settings={"tls": "tls", "ca_file": str(trusted)},
    )
    assert await sender.send(BIG, 1) == Lost(Phase.NOT_SENT, "timeout", "at data")
    assert sandbox.record.total == 0


@pytest.mark.parametrize("mode", ["starttls", "tls"])
async def test_a_certificate_that_nobody_vouches_for(make: Make, tls: tuple[ssl.SSLContext, Path], mode: str) -> None:
    context, _ = tls
    options = Options(http_port=None, rules=Rules(starttls=context), tls=context if mode == "tls" else None)
    sandbox, sender = await make(options=options, settings={"tls": mode})
    lost = await sender.send(REQUEST, 30)
    assert isinstance(lost, Lost)
    assert (lost.phase, lost.reason) == (Phase.NOT_SENT, "tls_failed")
    assert sandbox.record.total == 0


async def test_no_encryption_offered_means_nothing_sent(make: Make) -> None:
    sandbox, sender = await make(settings={"tls": "starttls"})
    assert await sender.send(REQUEST, 30) == Lost(Phase.NOT_SENT, "tls_unavailable", "at tls")
    assert sandbox.record.total == 0


async def test_no_authentication_offered_means_nothing_sent(make: Make) -> None:
    sandbox, sender = await make(settings=LOGIN)
    assert await sender.send(REQUEST, 30) == Lost(Phase.NOT_SENT, "auth_unavailable", "at auth")
    assert sandbox.record.total == 0


async def test_a_wrong_password_is_tried_once(make: Make) -> None:
    options = Options(http_port=None, rules=Rules(login=("ulak", "geheim")))
    sandbox, sender = await make(
        {"at": "auth", "do": "stall", "seconds": 0}, options=options, settings={**LOGIN, "password": "falsch"}
    )
    reply = await sender.send(REQUEST, 30)
    assert isinstance(reply, SmtpReply)
    assert (reply.stage, reply.code) == (Stage.AUTH, 535)
    assert sandbox.faults.report()[0]["fired"] == 1


@pytest.mark.parametrize(
    ("at", "code", "stage"),
    [("auth", 454, Stage.AUTH), ("auth", 421, Stage.AUTH), ("starttls", 454, Stage.TLS)],
)
async def test_refusals_before_the_first_message(
    make: Make, tls: tuple[ssl.SSLContext, Path], at: str, code: int, stage: Stage
) -> None:
    rules = Rules(login=("ulak", "geheim"), starttls=tls[0])
    _, sender = await make(
        {"at": at, "do": "reply", "code": code, "text": "4.7.0 later"},
        options=Options(http_port=None, rules=rules),
        settings={"tls": "starttls", "ca_file": str(tls[1]), **LOGIN},
    )
    assert await sender.send(REQUEST, 30) == SmtpReply(stage, code, "4.7.0 later")


async def test_to_discard_is_to_answer_at_once() -> None:
    sender = DiscardSender()
    assert await sender.send(DiscardRequest(), 0) == Discarded()
    await sender.close()
