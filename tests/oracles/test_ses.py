"""Do others find our calls to SES right: botocore the signature, moto's server signature and request?"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import eventually
from ulak.core.content.email import Attachment, EmailContent
from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, Outcome
from ulak.core.sign.sigv4 import Keys, sign
from ulak.io.outbound.vendor import VendorSender
from ulak.providers.contract import HttpReply, HttpRequest, Links, Message
from ulak.providers.email import ses

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SETUP_CALLS = 4
"""What is called before moto begins to check signatures."""
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ses:*", "Resource": "*"}]}


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Moto:
    """A running server, and a key that may send."""

    url: str
    access_key: str
    secret_key: str


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    """moto's server, which checks signatures after the first ``SETUP_CALLS`` calls."""
    port = free_port()
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(SETUP_CALLS)}
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _prepared(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(10)


def _prepared(url: str) -> Moto:
    import asyncio

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/moto-api/", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    asyncio.run(eventually(answers, within=60, every=0.1, what="moto to answer"))
    import boto3  # type: ignore[import-untyped]

    some: dict[str, Any] = {
        "endpoint_url": url,
        "region_name": "eu-central-1",
        "aws_access_key_id": "setup",
        "aws_secret_access_key": "setup",
    }
    iam = boto3.client("iam", **some)
    iam.create_user(UserName="ulak")
    iam.put_user_policy(UserName="ulak", PolicyName="send", PolicyDocument=json.dumps(POLICY))
    key = iam.create_access_key(UserName="ulak")["AccessKey"]
    boto3.client("sesv2", **some).create_email_identity(EmailIdentity="example.com")
    return Moto(url, key["AccessKeyId"], key["SecretAccessKey"])


@pytest.fixture
async def sender() -> AsyncIterator[VendorSender]:
    """What a node sends by, allowed to reach this machine."""
    one = VendorSender(Account("mail", "ses", Channel.EMAIL), [ip_network("127.0.0.1/32")])
    yield one
    await one.close()


def account(moto: Moto, **more: object) -> Account:
    own: dict[str, object] = {"access_key": moto.access_key, "secret_key": moto.secret_key, "endpoint": moto.url}
    return Account("mail", "ses", Channel.EMAIL, settings={"region": "eu-central-1", **own, **more})


def message(sender: str = "Öcto <octo@example.com>") -> Message:
    content = EmailContent(
        sender,
        "Grüße =?utf-8?q?x?=",
        "text",
        "<p>html</p>",
        attachments=(Attachment("a.txt", "text/plain", b"abc"),),
        metadata=(("order", "42"),),
    )
    links = Links("https://example.com/u/x")
    return Message(
        "dlv_1", "att_1_1", "ada@example.com", content, datetime.now(UTC), type="t", category="c", links=links
    )


async def ask(sender: VendorSender, request: HttpRequest, account: Account) -> Outcome:
    reply = await sender.send(request, 20)
    assert isinstance(reply, HttpReply)
    return ses.read(reply, [message()], account, datetime.now(UTC))[0]


async def test_moto_takes_what_we_sign_and_nothing_else(moto: Moto, sender: VendorSender) -> None:
    good = account(moto)
    request = ses.build([message()], good, datetime.now(UTC))
    outcome = await ask(sender, request, good)
    assert outcome.kind is Kind.ACCEPTED
    assert outcome.vendor_id

    tampered = replace(request, body=request.body.replace(b"ada@example.com", b"eve@example.com"))
    outcome = await ask(sender, tampered, good)
    assert (outcome.kind, outcome.reason) == (Kind.NEXT_PROVIDER, "ses_http_403")
    assert "SignatureDoesNotMatch" in outcome.detail

    wrong = account(moto, secret_key="x" * 40)
    outcome = await ask(sender, ses.build([message()], wrong, datetime.now(UTC)), wrong)
    assert outcome.kind is Kind.NEXT_PROVIDER
    assert "SignatureDoesNotMatch" in outcome.detail

    unknown = account(moto, access_key="AKIAXXXXXXXXXXXXXXXX")
    outcome = await ask(sender, ses.build([message()], unknown, datetime.now(UTC)), unknown)
    assert outcome.kind is Kind.NEXT_PROVIDER

    reply = await sender.send(HttpRequest("GET", f"{moto.url}/moto-api/data.json"), 10)
    assert isinstance(reply, HttpReply)
    kept = json.loads(reply.body)["ses"]["Message"]
    assert [sent["destinations"]["ToAddresses"] for sent in kept] == [["ada@example.com"]]


async def test_an_unverified_sender_is_a_fault_of_the_account(moto: Moto, sender: VendorSender) -> None:
    request = ses.build([message("octo@example.org")], account(moto), datetime.now(UTC))
    outcome = await ask(sender, request, account(moto))
    assert (outcome.kind, outcome.reason) == (Kind.NEXT_PROVIDER, "ses_identity")


TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=12)
NAMES = st.from_regex(r"[Xx]-[A-Za-z]{1,8}", fullmatch=True)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=st.lists(TEXT.map(lambda text: quote(text, safe="-_.~")), max_size=4),
    query=st.lists(st.tuples(TEXT, TEXT), max_size=4, unique_by=lambda pair: pair[0]),
    headers=st.dictionaries(NAMES, st.from_regex(r"[!-~]{1,8}( {1,3}[!-~]{1,8}){0,2}", fullmatch=True), max_size=3),
    body=st.binary(max_size=40),
    token=st.none() | st.just("session/token+="),
)
@settings(max_examples=60)
def test_botocore_signs_the_same(
    method: str, path: list[str], query: list[tuple[str, str]], headers: dict[str, str], body: bytes, token: str | None
) -> None:
    from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
    from botocore.credentials import Credentials  # type: ignore[import-untyped]

    headers = {name.lower(): value for name, value in headers.items()}
    asked = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
    url = "https://email.eu-central-1.amazonaws.com/" + "/".join(path) + (f"?{asked}" if asked else "")
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    theirs = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now.replace(tzinfo=None)):
        SigV4Auth(Credentials("AKID", "secret", token), "ses", "eu-central-1").add_auth(theirs)
    ours = dict(sign(method, url, headers.items(), body, Keys("AKID", "secret", "eu-central-1", "ses", token), now))
    assert ours["Authorization"] == theirs.headers["Authorization"]
