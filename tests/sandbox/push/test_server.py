"""Do the push services speak HTTP/2 as RFC 9113 has it, count streams as Apple does, and break where a fault says?"""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from uuid import uuid4

import pytest
from h2.errors import ErrorCodes

from tests.sandbox.push.rig import PATIENCE, START, Client, alert, apns_headers, new_key, provider_token
from tests.support import eventually
from ulak.core.device import AddressKind
from ulak.sandbox.push.devices import FakeDevice, Wanted
from ulak.sandbox.push.faults import Do, PushFault, decode
from ulak.sandbox.push.services import PushServices
from ulak.sandbox.record import Record
from ulak.sandbox.vendor_faults import Moment

pytestmark = pytest.mark.anyio

TOKEN = provider_token()


def good(phone: FakeDevice, name: str = "") -> list[tuple[str, str]]:
    """A good request's header."""
    return apns_headers(phone.address, TOKEN, apns_id=name or str(uuid4()))


async def proven(client: Client, phone: FakeDevice) -> None:
    """Make one authenticated request, so that many may follow."""
    assert (await client.call(good(phone), alert())).status == 200
    await client.until(lambda: client.most == [1, 1000])


# Connections


@pytest.mark.parametrize("service", ["apns", "apns_sandbox", "fcm"])
async def test_whoever_does_not_speak_http2_is_cut_off(service: str, push: PushServices) -> None:
    async with await Client.open(push.places[service], push.places["ca"], protocol="http/1.1") as client:
        assert client.closed
        assert client.most == []


async def test_the_certificate_is_of_this_machine_and_this_run(push: PushServices) -> None:
    ca = Path(push.places["ca"])
    assert ca.parent.stat().st_mode & 0o777 == 0o700
    async with PushServices(Record()) as other:
        with pytest.raises(ssl.SSLCertVerificationError):
            await Client.open(push.places["apns"], other.places["ca"])
        named = push.places["apns"].replace("127.0.0.1", "localhost")
        async with await Client.open(named, push.places["ca"]) as client:
            assert client.most == [1]
        theirs = Path(other.places["ca"])
    assert not theirs.parent.exists()


async def test_frames_that_make_no_sense_end_the_connection(push: PushServices) -> None:
    context = ssl.create_default_context(cafile=push.places["ca"])
    context.set_alpn_protocols(["h2"])
    port = int(push.places["apns"].rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    assert await asyncio.wait_for(reader.read(), PATIENCE)  # settings, GOAWAY, end
    writer.close()
    assert push.tallies["apns"].broken == 1


# Streams. Apple's page on connections to APNs: one stream until the first authenticated request


async def test_one_stream_until_somebody_has_proved_himself(
    push: PushServices, client: Client, phone: FakeDevice
) -> None:
    assert client.settings[3] == 1
    first = client.begin(good(phone), alert(), end=False)
    second = client.begin(good(phone), alert())
    assert (await client.answer(second)).reset == ErrorCodes.REFUSED_STREAM
    client.end(first)
    assert (await client.answer(first)).status == 200
    await client.until(lambda: client.most == [1, 1000])
    many = [client.begin(good(phone), alert(), end=False) for _ in range(20)]
    for number in many:
        client.end(number)
    assert {(await client.answer(number)).status for number in many} == {200}
    assert push.tallies["apns"].refused_streams == 1


async def test_a_wrong_token_proves_nothing(client: Client, phone: FakeDevice) -> None:
    wrong = apns_headers(phone.address, provider_token(key=new_key()))
    assert (await client.call(wrong, alert())).status == 403
    assert client.most == [1]
    unknown = apns_headers("0" * 64, TOKEN)
    assert (await client.call(unknown, alert())).json["reason"] == "BadDeviceToken"
    await client.until(lambda: client.most == [1, 1000])


async def test_more_than_the_streams_told_are_refused(push: PushServices) -> None:
    async with await Client.open(push.places["fcm"], push.places["ca"]) as client:
        assert client.settings[3] == 100
        headers = [(":method", "POST"), (":scheme", "https"), (":path", "/token"), (":authority", "x")]
        numbers = [client.begin(headers, b"x", end=False) for _ in range(101)]
        assert (await client.answer(numbers[-1])).reset == ErrorCodes.REFUSED_STREAM
        client.end(numbers[0])
        assert (await client.answer(numbers[0])).status == 400
        assert (await client.call(headers, b"x")).status == 400


async def test_an_answer_waits_for_the_clients_window(push: PushServices, phone: FakeDevice) -> None:
    async with await Client.open(push.places["apns"], push.places["ca"], window=5) as client:
        number = client.begin(apns_headers("0" * 64, TOKEN), alert())
        await client.until(lambda: len(client.answers[number].body) == 5)
        client.widen(number, 1000)
        assert (await client.answer(number)).json == {"reason": "BadDeviceToken"}


async def test_a_stream_that_is_reset_by_the_client_makes_room(client: Client, phone: FakeDevice) -> None:
    client.reset(client.begin(good(phone), alert(), end=False))
    assert (await client.call(good(phone), alert())).status == 200


# Faults


@pytest.mark.parametrize(("at", "kept"), [(Moment.REQUEST, 0), (Moment.TAKEN, 1), (Moment.ANSWER, 1)])
async def test_a_connection_can_be_lost_at_every_moment(
    at: Moment, kept: int, push: PushServices, client: Client, phone: FakeDevice, record: Record
) -> None:
    push.faults.arm([PushFault(at, Do.DROP, times=1)])
    answer = await client.call(good(phone), alert())
    assert (answer.ended, client.closed, record.total) == (False, True, kept)
    assert answer.status == (200 if at is Moment.ANSWER else 0)
    assert not any(received.answered for received in record.after(0, 9))


async def test_half_of_an_answer_can_come(push: PushServices, client: Client) -> None:
    push.faults.arm([PushFault(Moment.ANSWER, Do.RESET, code="CANCEL", times=1)])
    answer = await client.call(apns_headers("0" * 64, TOKEN), alert())
    assert (answer.status, answer.body, answer.reset) == (400, b'{"reason":"Ba', ErrorCodes.CANCEL)
    assert client.most == [1]  # which proved nothing


@pytest.mark.parametrize(("at", "kept"), [(Moment.REQUEST, 1), (Moment.TAKEN, 2)])
async def test_streams_can_be_reset(
    at: Moment, kept: int, push: PushServices, client: Client, phone: FakeDevice, record: Record
) -> None:
    push.faults.arm([PushFault(at, Do.RESET, code="REFUSED_STREAM", every=2)])
    assert (await client.call(good(phone), alert())).status == 200
    assert (await client.call(good(phone), alert())).reset == ErrorCodes.REFUSED_STREAM
    assert record.total == kept
    assert push.faults.report()[0]["fired"] == 1
    push.faults.clear()
    assert (await client.call(good(phone), alert())).status == 200


async def test_goaway_names_the_last_stream_that_was_taken(
    push: PushServices, client: Client, phone: FakeDevice, record: Record
) -> None:
    await proven(client, phone)
    push.faults.arm([PushFault(Moment.REQUEST, Do.GOAWAY, reason="Shutdown", skip=2, times=1)])
    numbers = [client.begin(good(phone), alert(), end=False) for _ in range(5)]
    for number in numbers:
        client.end(number)
    await client.until(lambda: client.closed)
    assert client.goaway == (numbers[1], ErrorCodes.NO_ERROR, b'{"reason": "Shutdown"}')
    assert [client.answers[number].status for number in numbers] == [200, 200, 0, 0, 0]
    assert record.total == 3


async def test_streams_that_were_begun_before_goaway_are_finished(
    push: PushServices, client: Client, phone: FakeDevice, record: Record
) -> None:
    await proven(client, phone)
    slow, other = (client.begin(good(phone), alert(), end=False) for _ in range(2))
    push.faults.arm([PushFault(Moment.TAKEN, Do.GOAWAY, code="ENHANCE_YOUR_CALM", times=1)])
    client.end(other)
    await client.until(lambda: client.goaway is not None)
    assert client.goaway == (other, ErrorCodes.ENHANCE_YOUR_CALM, b"")
    client.end(slow)
    await client.until(lambda: client.closed)
    assert (client.answers[slow].status, client.answers[other].status) == (200, 0)
    assert record.total == 3


async def test_goaway_after_an_answer_loses_nothing(push: PushServices, client: Client, phone: FakeDevice) -> None:
    push.faults.arm([PushFault(Moment.ANSWER, Do.GOAWAY, times=1)])
    number = client.begin(good(phone), alert())
    await client.until(lambda: client.closed)
    assert (client.answers[number].status, client.answers[number].ended) == (200, True)
    assert client.goaway == (number, ErrorCodes.NO_ERROR, b"")


async def test_a_stall_delays_one_stream_alone(
    push: PushServices, client: Client, phone: FakeDevice, record: Record
) -> None:
    await proven(client, phone)
    push.faults.arm(
        [
            PushFault(Moment.REQUEST, Do.STALL, times=1),
            PushFault(Moment.TAKEN, Do.STALL, seconds=0.2, skip=0, times=1),
        ]
    )
    stuck = client.begin(good(phone), alert())
    late = client.begin(good(phone), alert())
    assert (await client.call(good(phone), alert())).status == 200
    assert (await client.answer(late)).status == 200
    assert not client.answers[stuck].over
    assert record.total == 3


async def test_a_connection_can_be_dropped_or_left_waiting_at_once(push: PushServices, phone: FakeDevice) -> None:
    push.faults.arm(
        [
            PushFault(Moment.CONNECT, Do.DROP, times=1),
            PushFault(Moment.CONNECT, Do.STALL, seconds=0.2, times=1),
        ]
    )
    async with await Client.open(push.places["apns"], push.places["ca"]) as first:
        assert (first.closed, first.most) == (True, [])
    async with await Client.open(push.places["apns"], push.places["ca"]) as second:
        assert (await second.call(good(phone), alert())).status == 200


async def test_a_storm_of_429_says_when_to_come_back(push: PushServices, client: Client, phone: FakeDevice) -> None:
    push.faults.arm([PushFault(Moment.REQUEST, Do.REPLY, reason="TooManyRequests", headers={"retry-after": "5"})])
    for _ in range(3):
        answer = await client.call(good(phone), alert())
        assert (answer.status, answer.headers["retry-after"]) == (429, "5")
    push.faults.clear()
    assert (await client.call(good(phone), alert())).status == 200


@pytest.mark.parametrize(
    ("fault", "label"),
    [
        (None, "sent"),
        (PushFault(Moment.TAKEN, Do.DROP), "withheld"),
        (PushFault(Moment.TAKEN, Do.RESET), "withheld"),
        (PushFault(Moment.TAKEN, Do.GOAWAY), "withheld"),
        (PushFault(Moment.TAKEN, Do.STALL, seconds=0.01), "late"),
        (PushFault(Moment.TAKEN, Do.STALL), "withheld"),
        (PushFault(Moment.TAKEN, Do.REPLY, reason="Shutdown"), "503"),
        (PushFault(Moment.ANSWER, Do.DROP), "withheld"),
        (PushFault(Moment.ANSWER, Do.GOAWAY), "sent"),
    ],
)
async def test_the_log_says_what_the_sender_hears(fault: PushFault | None, label: str, tmp_path: Path) -> None:
    record = Record(tmp_path / "log")
    async with PushServices(record, lambda: START) as push:
        phone = push.devices.make(Wanted(AddressKind.APNS, "phone"), push.now)
        async with await Client.open(push.places["apns"], push.places["ca"]) as client:
            push.faults.arm([fault] if fault is not None else [])
            client.begin(good(phone), alert())
            await eventually(lambda: record.total, within=PATIENCE)
    record.close()
    (line,) = (json.loads(text) for text in (tmp_path / "log").read_text().splitlines())
    assert (line["channel"], line["from"], line["to"], line["answer"]) == ("push", "apns", "phone", label)


async def test_a_service_can_stop_listening_and_come_back(
    push: PushServices, client: Client, phone: FakeDevice
) -> None:
    await push.ports["apns"].listening(False)
    await client.until(lambda: client.closed)
    with pytest.raises(ConnectionRefusedError):
        await Client.open(push.places["apns"], push.places["ca"])
    await push.ports["apns"].listening(True)
    async with await Client.open(push.places["apns"], push.places["ca"]) as again:
        assert (await again.call(good(phone), alert())).status == 200


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"at": "request"}', "do"),
        ('{"at": "noon", "do": "drop"}', "at"),
        ('{"at": "connect", "do": "drop", "to": "x"}', "at"),
        ('{"at": "connect", "do": "reset"}', "at"),
        ('{"at": "answer", "do": "reply"}', "do"),
        ('{"at": "request", "do": "reset", "code": "NOPE"}', "code"),
        ('{"at": "request", "do": "goaway", "service": "webpush"}', "do"),
        ('{"at": "request", "do": "drop", "service": "ses"}', "service"),
        ('{"at": "request", "do": "drop", "colour": 1}', "colour"),
        ("nonsense", "JSON"),
    ],
)
async def test_a_fault_that_cant_be_is_refused(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        decode(text.encode())
