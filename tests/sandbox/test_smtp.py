"""Is the peer as strict as the strictest server, and does it remember exactly what came?"""

from __future__ import annotations

import asyncio
import base64
import json
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from pathlib import Path

import aiosmtplib
import pytest

from ulak.sandbox.faults import decode
from ulak.sandbox.server import Options, Sandbox
from ulak.sandbox.smtp import Rules

pytestmark = pytest.mark.anyio

TEXT = b"From: o@example.com\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n\r\nhi\r\n"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without HTTP."""
    async with Sandbox(Options(http_port=None, rules=Rules(max_size=100_000))) as running:
        yield running


class Wire:
    """A client that writes what it is told to, octet by octet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> str:
        """Write, and read one whole reply; empty when the peer hung up."""
        self.writer.write(data)
        lines = []
        while True:
            try:
                line = await asyncio.wait_for(self.reader.readline(), 30)
            except ConnectionError:
                line = b""
            lines.append(line.decode("ascii"))
            if line[3:4] != b"-":
                return "".join(lines)

    async def into_text(self) -> None:
        """Go up to the 354."""
        for line in (b"EHLO me.example\r\n", b"MAIL FROM:<o@example.com>\r\n", b"RCPT TO:<a@example.com>\r\n"):
            assert (await self.say(line)).startswith("250")
        assert (await self.say(b"DATA\r\n")).startswith("354")


@asynccontextmanager
async def wire(sandbox: Sandbox) -> AsyncIterator[Wire]:
    """An open line, greeting read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.smtp_port)
    line = Wire(reader, writer)
    assert (await line.say(b"")).startswith("220 ")
    try:
        yield line
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"NONSENSE\r\n"], "500"),
        ([b"EHLO\r\n"], "501"),
        ([b"EHLO bad_name\r\n"], "501"),
        ([b"EHLO two words\r\n"], "501"),
        ([b"EHLO [127.0.0.1]\r\n"], "250"),
        ([b"HELO me\r\n"], "250"),
        ([b"EHLO me\n"], "500"),
        ([b"EH\rLO me\r\n"], "500"),
        ([b"EHLO m\xc3\xa9\r\n"], "500"),
        ([b"EHLO " + b"a" * 3_000 + b"\r\n"], "500"),
        ([b"MAIL FROM:<o@example.com>\r\n"], "503"),
        ([b"EHLO me\r\n", b"RCPT TO:<a@example.com>\r\n"], "503"),
        ([b"EHLO me\r\n", b"DATA\r\n"], "503"),
        ([b"EHLO me\r\n", b"MAIL FROM:o@example.com\r\n"], "501"),
        ([b"EHLO me\r\n", b"MAIL FROM: <o@example.com>\r\n"], "501"),
        ([b"EHLO me\r\n", b"MAIL FROM:<o>\r\n"], "501"),
        ([b"EHLO me\r\n", b"MAIL FROM:<>\r\n"], "250"),
        ([b"EHLO me\r\n", b"MAIL FROM:<o@example.com> SIZE=99 BODY=8BITMIME\r\n"], "250"),
        ([b"EHLO me\r\n", b"MAIL FROM:<o@example.com> SIZE=100001\r\n"], "552"),
        ([b"EHLO me\r\n", b"MAIL FROM:<o@example.com> SMTPUTF8\r\n"], "555"),
        ([b"EHLO me\r\n", b"MAIL FROM:<o@example.com>\r\n", b"MAIL FROM:<o@example.com>\r\n"], "503"),
        ([b"EHLO me\r\n", b"MAIL FROM:<o@example.com>\r\n", b"RCPT TO:<>\r\n"], "501"),
        ([b"EHLO me\r\n", b"MAIL FROM:<o@example.com>\r\n", b"RCPT TO:<a@b,c@d>\r\n"], "501"),
        ([b"EHLO me\r\n", b"MAIL FROM:<o@example.com>\r\n", b"RCPT TO:<a@example.com> X=1\r\n"], "555"),
        ([b"EHLO me\r\n", b"MAIL FROM:<o@example.com>\r\n", b"DATA\r\n"], "503"),
        ([b"EHLO me\r\n", b"AUTH PLAIN AGEAYg==\r\n"], "503"),
        ([b"EHLO me\r\n", b"STARTTLS\r\n"], "503"),
        ([b"EHLO me\r\nNOOP\r\n"], "421"),
        ([b"NOOP\r\n"], "250"),
        ([b"RSET now\r\n"], "501"),
        ([b"VRFY a@example.com\r\n"], "252"),
        ([b"QUIT\r\n"], "221"),
    ],
)
async def test_commands(sandbox: Sandbox, lines: list[bytes], code: str) -> None:
    async with wire(sandbox) as line:
        reply = ""
        for command in lines:
            reply = await line.say(command)
        assert reply[:3] == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (TEXT + b".\r\n", "250"),
        (b".\r\n", "250"),
        (TEXT + b"x" * 998 + b"\r\n.\r\n", "250"),
        (TEXT + b"x" * 999 + b"\r\n.\r\n", "554"),
        (TEXT + b".." + b"x" * 997 + b"\r\n.\r\n", "250"),
        (TEXT + b".." + b"x" * 998 + b"\r\n.\r\n", "554"),
        (TEXT + b"bare\nfeed\r\n.\r\n", "554"),
        (TEXT + b"bare\rreturn\r\n.\r\n", "554"),
        (TEXT + b"smuggled\n.\nMAIL FROM:<e@x.y>\r\n", "554"),
        (TEXT + b"nul\0\r\n.\r\n", "554"),
        (TEXT + b"\xc3\xa9\r\n.\r\n", "554"),
        (TEXT + b"y\r\n" * 40_000 + b".\r\n", "552"),
    ],
)
async def test_texts(sandbox: Sandbox, text: bytes, code: str) -> None:
    async with wire(sandbox) as line:
        await line.into_text()
        assert (await line.say(text))[:3] == code
    assert sandbox.record.total == (code == "250")


async def test_a_text_in_pieces_is_the_same_text(sandbox: Sandbox) -> None:
    async with wire(sandbox) as line:
        await line.into_text()
        for octet in TEXT + b"..\r\n.x\r\n":
            line.writer.write(bytes([octet]))
            await line.writer.drain()
        assert (await line.say(b".\r\n")).startswith("250")
    (received,) = sandbox.record.after(0, 9)
    assert received.raw == TEXT + b".\r\nx\r\n"


async def test_pipelining_and_many_recipients(sandbox: Sandbox) -> None:
    async with wire(sandbox) as line:
        await line.say(b"EHLO me\r\n")
        await line.say(b"MAIL FROM:<o@example.com>\r\nRCPT TO:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
        for code in ("250", "250", "354"):
            assert (await line.say(b""))[:3] == code
        assert (await line.say(TEXT + b".\r\nRSET\r\n"))[:3] == "250"
        assert (await line.say(b""))[:3] == "250"
    (received,) = sandbox.record.after(0, 9)
    assert received.recipients == ("a@example.com", "b@example.com")


async def test_text_before_the_354_is_refused(sandbox: Sandbox) -> None:
    async with wire(sandbox) as line:
        for command in (b"EHLO me\r\n", b"MAIL FROM:<o@example.com>\r\n", b"RCPT TO:<a@example.com>\r\n"):
            await line.say(command)
        assert (await line.say(b"DATA\r\n" + TEXT + b".\r\n"))[:3] == "421"
    assert sandbox.record.total == 0


async def test_doubles_stay_double(sandbox: Sandbox) -> None:
    async with wire(sandbox) as line:
        for _ in range(3):
            await line.into_text()
            await line.say(TEXT + b".\r\n")
    assert [(r.id, r.seq, r.raw) for r in sandbox.record.after(0, 9)] == [(n, n, TEXT) for n in (1, 2, 3)]


def message(encoding: str = "quoted-printable") -> EmailMessage:
    made = EmailMessage(policy=SMTP_POLICY)
    made["From"], made["To"], made["Subject"] = "o@example.com", "a@example.com", "Grüße"
    made.set_content("héllo\n.\n..\n", cte=encoding)
    return made


async def test_a_real_client_of_the_standard_library(sandbox: Sandbox) -> None:
    def send() -> None:
        with smtplib.SMTP("127.0.0.1", sandbox.smtp_port, local_hostname="me.example") as client:
            client.send_message(message())
            client.send_message(message("8bit"), mail_options=["BODY=8BITMIME"])
            with pytest.raises(smtplib.SMTPDataError, match="eight-bit"):
                client.send_message(message("8bit"))

    await asyncio.to_thread(send)
    raws = [received.raw for received in sandbox.record.after(0, 9)]
    assert len(raws) == 2
    for raw in raws:
        seen = message_from_bytes(raw, policy=SMTP_POLICY)
        assert seen["Subject"] == "Grüße"
        assert seen.get_content().replace("\r\n", "\n") == "héllo\n.\n..\n"


async def test_a_real_asynchronous_client(sandbox: Sandbox) -> None:
    async with aiosmtplib.SMTP(
        hostname="127.0.0.1", port=sandbox.smtp_port, local_hostname="me.example", start_tls=False
    ) as client:
        for _ in range(2):
            refused, _said = await client.send_message(message())
            assert refused == {}
    assert [received.seq for received in sandbox.record.after(0, 9)] == [1, 2]


@pytest.mark.parametrize("method", ["auth_plain", "auth_login"])
async def test_authentication(method: str) -> None:
    async with Sandbox(Options(http_port=None, rules=Rules(login=("me", "geheim")))) as sandbox:
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1", port=sandbox.smtp_port, local_hostname="me.example", start_tls=False
        )
        await client.connect()
        with pytest.raises(aiosmtplib.SMTPSenderRefused, match="authentication required"):
            await client.mail("o@example.com")
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            await getattr(client, method)("me", "falsch")
        await getattr(client, method)("me", "geheim")
        await client.mail("o@example.com")
        await client.quit()


async def test_a_taken_message_whose_answer_was_refused(sandbox: Sandbox) -> None:
    sandbox.faults.arm(decode({"at": "end", "do": "reply", "code": 451, "take": True}))
    async with wire(sandbox) as line:
        await line.into_text()
        assert (await line.say(TEXT + b".\r\n"))[:3] == "451"
    (received,) = sandbox.record.after(0, 9)
    assert not received.answered


async def test_a_late_answer_is_an_answer(sandbox: Sandbox) -> None:
    sandbox.faults.arm(decode({"at": "end", "do": "stall", "seconds": 0.05}))
    async with wire(sandbox) as line:
        await line.into_text()
        assert (await line.say(TEXT + b".\r\n"))[:3] == "250"
    (received,) = sandbox.record.after(0, 9)
    assert received.answered


async def test_the_log_is_a_witness_of_all_that_was_taken(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    faults = decode(
        [
            {"at": "end", "do": "drop", "times": 1, "skip": 1},
            {"at": "end", "do": "drop", "take": False, "times": 1, "skip": 1},
        ]
    )
    for _ in range(2):  # a second life appends
        async with Sandbox(Options(http_port=None, log=log)) as sandbox:
            sandbox.faults.arm(faults)
            for _ in range(4):
                async with wire(sandbox) as line:
                    await line.into_text()
                    await line.say(TEXT + b".\r\n")
            assert sandbox.record.total == 3
    rows = [json.loads(row) for row in log.read_text().splitlines()]
    assert [row["answer"] for row in rows] == ["sent", "withheld", "sent"] * 2
    assert {base64.b64decode(row["raw"]) for row in rows} == {TEXT}
    assert {(row["from"], row["to"], row["channel"]) for row in rows} == {
        ("o@example.com", "a@example.com", "email"),
    }
    assert log.stat().st_mode & 0o077 == 0


async def test_memory_is_capped_and_ids_count_on() -> None:
    async with Sandbox(Options(http_port=None, cap_bytes=len(TEXT) * 2)) as sandbox:
        async with wire(sandbox) as line:
            for _ in range(5):
                await line.into_text()
                await line.say(TEXT + b".\r\n")
        assert [received.id for received in sandbox.record.after(0, 9)] == [4, 5]
        assert sandbox.record.get(3) is None
        found = sandbox.record.get(5)
        assert found is not None
        assert found.id == 5
        sandbox.record.clear()
        assert sandbox.record.get(5) is None
        assert sandbox.record.total == 5


def test_it_listens_on_loopback_only() -> None:
    with pytest.raises(ValueError, match="loopback"):
        Sandbox(Options(host="0.0.0.0"))
