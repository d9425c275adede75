"""What does a strict mail server answer, and what does it take?

Strict where real servers differ: it refuses bare CR and LF (RFC 5321 §2.3.8), commands out of order, unknown
parameters, text before the 354, lines over 998 octets, eight-bit text that was not announced, and more than
``max_size`` octets. Faults of the book replace replies, drop or stall the connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from ulak.sandbox.connection import Connection
from ulak.sandbox.faults import At, Do, FaultBook
from ulak.sandbox.grammar import decode_base64, is_name, path, sender_parameters, text_refusal, unstuffed
from ulak.sandbox.record import Received, Record

MAX_RECIPIENTS = 100
HOST = "sandbox.ulak.invalid"

_LAST_OF_GROUP = frozenset({b"EHLO", b"HELO", b"DATA", b"STARTTLS", b"AUTH", b"QUIT", b"NOOP", b"VRFY"})
"""Nothing may be pipelined behind these (RFC 2920 §3.1); behind STARTTLS or DATA it would be an attack."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How the peer is set up. ``login`` is the one user name and password; with none, AUTH is not offered."""

    max_size: int = 10 * 1024 * 1024
    login: tuple[str, str] | None = None
    starttls: ssl.SSLContext | None = None


@dataclass(slots=True)
class Transaction:
    """What MAIL, RCPT and DATA have built up; ``scan`` is where the search for the final dot goes on."""

    sender: str | None = None
    recipients: list[str] = field(default_factory=list)
    eight_bit: bool = False
    in_text: bool = False
    text_begun: bool = False
    too_big: bool = False
    scan: int = 0


class Peer(Connection):
    """One connection of a client; ``number`` tells it from others in the record."""

    def __init__(self, rules: Rules, faults: FaultBook, record: Record, number: int) -> None:
        super().__init__(faults)
        self._rules = rules
        self._record = record
        self._number = number
        self._secure = False
        self._seq = 0
        self._expect: Callable[[bytes], None] | None = None
        self._upgrading: asyncio.Task[None] | None = None
        self._greeted = False
        self._trusted = False
        self._mailing = Transaction()

    def greet(self) -> None:
        """Say 220."""
        assert self.transport is not None
        self._secure = self.transport.get_extra_info("sslcontext") is not None
        self.step(At.CONNECT, (), lambda: self.say(220, f"{HOST} ESMTP sandbox"))

    def work(self) -> bool:
        """Handle one line or one text."""
        if self._mailing.in_text:
            return self._read_text()
        line = self.next_line()
        if line is None:
            return False
        if self._expect is not None:
            answer, self._expect = self._expect, None
            answer(line)
        else:
            self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        do = self._COMMANDS.get(verb)
        if do is None:
            self.say(500, "5.5.1 unknown command")
        elif self.buffer and verb in _LAST_OF_GROUP:
            self.say(421, "5.5.0 nothing may follow this command before its reply")
        else:
            do(self, rest)

    # Commands

    def _ehlo(self, name: bytes) -> None:
        def go() -> None:
            self._forget_session()
            self._greeted = True
            lines = [HOST, "PIPELINING", f"SIZE {self._rules.max_size}", "8BITMIME", "ENHANCEDSTATUSCODES"]
            if self._rules.starttls is not None and not self._secure:
                lines.append("STARTTLS")
            if self._rules.login is not None:
                lines.append("AUTH PLAIN LOGIN")
            self.say(250, "\n".join(lines))

        if is_name(name):
            self.step(At.EHLO, (), go)
        else:
            self.say(501, "5.5.4 give your domain or address literal")

    def _helo(self, name: bytes) -> None:
        if is_name(name):
            self._forget_session()
            self._greeted = True
            self.say(250, HOST)
        else:
            self.say(501, "5.5.4 give your domain or address literal")

    def _mail(self, rest: bytes) -> None:
        sender = path(rest, b"FROM")
        if not self._greeted or self._mailing.sender is not None:
            self.say(503, "5.5.1 first EHLO, then one MAIL")
        elif self._rules.login is not None and not self._trusted:
            self.say(530, "5.7.0 authentication required")
        elif sender is None:
            self.say(501, "5.1.7 say MAIL FROM:<address>")
        else:
            found = sender_parameters(sender[1], self._rules.max_size, may_auth=self._rules.login is not None)
            if isinstance(found, bool):
                self._mailing.eight_bit = found
                self.step(At.MAIL, (), lambda: self._accept_sender(sender[0]))
            else:
                self.say(*found)

    def _accept_sender(self, sender: str) -> None:
        self._mailing.sender = sender
        self.say(250, "2.1.0 Ok")

    def _rcpt(self, rest: bytes) -> None:
        recipient = path(rest, b"TO")
        if self._mailing.sender is None:
            self.say(503, "5.5.1 first MAIL")
        elif recipient is None:
            self.say(501, "5.1.3 say RCPT TO:<address>")
        elif recipient[1]:
            self.say(555, "5.5.4 unknown parameter")
        elif len(self._mailing.recipients) >= MAX_RECIPIENTS:
            self.say(452, "4.5.3 too many recipients")
        else:
            self.step(At.RCPT, (recipient[0],), lambda: self._accept_recipient(recipient[0]))

    def _accept_recipient(self, recipient: str) -> None:
        self._mailing.recipients.append(recipient)
        self.say(250, "2.1.5 Ok")

    def _data(self, rest: bytes) -> None:
        if rest:
            self.say(501, "5.5.4 DATA stands alone")
        elif not self._mailing.recipients:
            self.say(503, "5.5.1 first RCPT")
        else:
            self.step(At.DATA, self._mailing.recipients, self._start_text)

    def _start_text(self) -> None:
        self._mailing.in_text = True
        self.say(354, "end with a line that holds one dot")

    def _rset(self, rest: bytes) -> None:
        if rest:
            self.say(501, "5.5.4 RSET stands alone")
        else:
            self._mailing = Transaction()
            self.say(250, "2.0.0 Ok")

    def _noop(self, _rest: bytes) -> None:
        self.say(250, "2.0.0 Ok")

    def _vrfy(self, _rest: bytes) -> None:
        self.say(252, "2.5.0 send it and see")

    def _quit(self, _rest: bytes) -> None:
        self.say(221, "2.0.0 bye")
        self.hang_up()

    # Encryption and authentication

    def _starttls(self, rest: bytes) -> None:
        if rest or self._rules.starttls is None or self._secure or not self._greeted:
            self.say(503, "5.5.1 not now")
        else:
            self.step(At.STARTTLS, (), self._upgrade)

    def _upgrade(self) -> None:
        assert self.transport is not None
        # From here on every octet belongs to the handshake.
        self.transport.pause_reading()
        self.held = True
        self.say(220, "2.0.0 go ahead")
        self.flush()
        self._upgrading = asyncio.get_running_loop().create_task(self._handshake(self.transport))

    async def _handshake(self, plain: asyncio.Transport) -> None:
        assert self._rules.starttls is not None
        loop = asyncio.get_running_loop()
        try:
            upgraded = await loop.start_tls(plain, self, self._rules.starttls, server_side=True)
        except OSError:  # ssl.SSLError is one
            plain.abort()
            return
        self.transport = upgraded
        self._secure = True
        self.held = False
        self._forget_session()
        self.pump()

    def _auth(self, rest: bytes) -> None:
        if self._rules.login is None or not self._greeted or self._trusted or self._mailing.sender is not None:
            self.say(503, "5.5.1 not now")
            return
        mechanism, _, initial = rest.partition(b" ")
        answer, challenge = {b"PLAIN": (self._plain, ""), b"LOGIN": (self._login_name, "VXNlcm5hbWU6")}.get(
            mechanism.upper(), (None, "")
        )
        if answer is None:
            self.say(504, "5.5.4 PLAIN or LOGIN")
        elif initial:
            answer(initial)
        else:
            self._ask(challenge, answer)

    def _ask(self, challenge: str, answer: Callable[[bytes], None]) -> None:
        self._expect = answer
        self.say(334, challenge)

    def _plain(self, answer: bytes) -> None:
        parts = decode_base64(answer).split(b"\0")
        self._judge_login(parts[1:])

    def _login_name(self, answer: bytes) -> None:
        name = decode_base64(answer)
        self._ask("UGFzc3dvcmQ6", lambda password: self._judge_login([name, decode_base64(password)]))

    def _judge_login(self, given: list[bytes]) -> None:
        def go() -> None:
            assert self._rules.login is not None
            self._trusted = given == [part.encode("utf-8") for part in self._rules.login]
            if self._trusted:
                self.say(235, "2.7.0 welcome")
            else:
                self.say(535, "5.7.8 wrong user name or password")

        self.step(At.AUTH, (), go)

    # The text of a message

    def _read_text(self) -> bool:
        """Look for the final dot; False until it has come."""
        buffer = self.buffer
        if not buffer:
            return False
        if not self._mailing.text_begun:
            self._mailing.text_begun = True
            fault = self.faults.due(At.BODY, self._mailing.recipients)
            if fault is not None:
                self.break_off(fault, lambda: None)
                return False
        empty = buffer.startswith(b".\r\n") and not self._mailing.too_big
        end = -2 if empty else buffer.find(b"\r\n.\r\n", self._mailing.scan)
        if end == -1:
            self._wait_for_more()
            return False
        text = bytes(buffer[: end + 2])
        del buffer[: end + 5]
        self._mailing.in_text = False
        self._judge(text)
        return True

    def _wait_for_more(self) -> None:
        """Keep only what is needed of a text whose end has not come."""
        buffer = self.buffer
        if buffer.find(b"\n.\n", self._mailing.scan) >= 0 or buffer.startswith(b".\n"):
            self.say(554, "5.6.0 bare line feed")
            self.hang_up()
            return
        if len(buffer) > self._rules.max_size:
            self._mailing.too_big = True
        if self._mailing.too_big:
            del buffer[:-4]
        self._mailing.scan = max(0, len(buffer) - 4)

    def _judge(self, text: bytes) -> None:
        if self._mailing.too_big or len(text) > self._rules.max_size:
            refusal: tuple[int, str] | None = (552, "5.3.4 message too big")
        else:
            refusal = text_refusal(text, eight_bit=self._mailing.eight_bit)
        if refusal is not None:
            self._mailing = Transaction()
            self.say(*refusal)
            return
        fault = self.faults.due(At.END, self._mailing.recipients)
        if fault is None:
            self._confirm(self._take(text, "sent"))
        elif fault.do is Do.REPLY:
            if fault.take:
                self._take(text, str(fault.code))
            self._mailing = Transaction()
            self.say(fault.code, fault.text)
        elif fault.take:
            late = fault.do is Do.STALL and fault.seconds is not None
            received = self._take(text, "late" if late else "withheld")
            self.break_off(fault, lambda: self._confirm(received))
        else:
            self.break_off(fault, lambda: self._confirm(self._take(text, "sent")))

    def _take(self, text: bytes, answer: str) -> Received:
        assert self._mailing.sender is not None
        self._seq += 1
        return self._record.add(
            (self._number, self._seq), (self._mailing.sender, self._mailing.recipients), unstuffed(text), answer
        )

    def _confirm(self, received: Received) -> None:
        self._mailing = Transaction()
        self.say(250, f"2.0.0 Ok: queued as m{received.id}")
        self.flush()
        received.answered = self.transport is not None and not self.transport.is_closing()

    # State

    def _forget_session(self) -> None:
        self._greeted = False
        self._trusted = False
        self._mailing = Transaction()

    _COMMANDS: ClassVar[dict[bytes, Callable[[Peer, bytes], None]]] = {
        b"EHLO": _ehlo,
        b"HELO": _helo,
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"RSET": _rset,
        b"NOOP": _noop,
        b"VRFY": _vrfy,
        b"QUIT": _quit,
        b"STARTTLS": _starttls,
        b"AUTH": _auth,
    }
