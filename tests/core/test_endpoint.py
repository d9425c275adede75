"""Which endpoints may be called, however a liar spells them?"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from ulak.core.endpoint import MAX_LENGTH, SERVICES, check_endpoint, is_host, origin

MOZILLA = "https://updates.push.services.mozilla.com/wpush/v2/gAAAA"
GOOD = [
    "https://fcm.googleapis.com/fcm/send/dpH5lCsTSSM:APA91bHqjZxM0VImWWqDRN7U0a3AycjUf4O",
    "https://fcm.googleapis.com/wp/dpH5lCsTSSM:APA91bHqjZ",
    MOZILLA,
    "https://autopush.stage.push.services.mozilla.com/wpush/v1/a",
    "https://web.push.apple.com/QKLm-4XmQ",
    "https://wns2-par02p.notify.windows.com/w/?token=BQYAAAC%2bPo",
]


@pytest.mark.parametrize("url", GOOD)
def test_the_services_of_browsers_may_be_called(url: str) -> None:
    assert check_endpoint(url) is None
    assert origin(url) == "https://" + str(urlsplit(url).netloc)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "https://fcm.googleapis.com",  # no path: no subscription either
        "http://fcm.googleapis.com/x",
        "HTTPS://fcm.googleapis.com/x",
        " https://fcm.googleapis.com/x",
        "https:fcm.googleapis.com/x",
        "https:/fcm.googleapis.com/x",
        "https:\\\\fcm.googleapis.com/x",
        "https://fcm.googleapis.com\\@evil.example/x",
        "https://fcm.googleapis.com@evil.example/x",
        "https://evil.example@fcm.googleapis.com/x",
        "https://:@fcm.googleapis.com/x",
        "https://evil.example/fcm.googleapis.com/",
        "https://evil.example?fcm.googleapis.com/x",
        "https://evil.example#@fcm.googleapis.com/x",
        "https://fcm.googleapis.com/x#",
        "https://fcm.googleapis.com/x#y",
        "https://fcm.googleapis.com:443/x",
        "https://fcm.googleapis.com:/x",
        "https://fcm.googleapis.com:80/x",
        "https://fcm.googleapis.com:8443/x",
        "https://fcm.googleapis.com:0443/x",
        "https://fcm.googleapis.com./x",
        "https://FCM.googleapis.com/x",
        "https://fcm。googleapis.com/x",
        "https://fcm%2egoogleapis.com/x",
        "https://\uff46cm.googleapis.com/x",
        "https://fcm.googleapis.com.evil.example/x",
        "https://evilfcm.googleapis.com/x",
        "https://a.fcm.googleapis.com/x",
        "https://googleapis.com/x",
        "https://push.services.mozilla.com/x",
        "https://evilpush.services.mozilla.com/x",
        "https://.push.services.mozilla.com/x",
        "https://a..push.services.mozilla.com/x",
        "https://-a.push.services.mozilla.com/x",
        "https://xn--mnchen-3ya.push.services.mozilla.com/x",
        "https://*.push.services.mozilla.com/x",
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://localhost/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://fcm.googleapis.com/fcm/../v1/x",
        "https://fcm.googleapis.com/fcm/%2E%2e/v1/x",
        "https://fcm.googleapis.com/./x",
        "https://fcm.googleapis.com/x/..",
        "https://fcm.googleapis.com/x y",
        "https://fcm.googleapis.com/x\n",
        "https://fcm.googleapis.com/x\r\nHost: evil.example",
        "https://fcm.googleapis.com/\x00",
        "https://fcm.googleapis.com/%",
        "https://fcm.googleapis.com/%zz",
        "https://fcm.googleapis.com/é",
        "https://fcm.googleapis.com/\ud800",
        "https://fcm.googleapis.com/" + "a" * MAX_LENGTH,
    ],
)
def test_all_else_is_refused(url: str) -> None:
    said = check_endpoint(url)
    assert said is not None
    assert url not in said or not url
    assert ("https://" in said) == (not url.startswith("https://"))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://push.example.org/x", "push.example.org"),
        ("https://push.example.org/x", "push.example.org:443"),
        ("https://push.example.org:8443/x", "push.example.org:8443"),
        ("https://a.ntfy.example.org/up?x=1", "*.ntfy.example.org"),
        ("https://a.b.ntfy.example.org/up", "*.ntfy.example.org"),
        ("https://a.ntfy.example.org:8443/up", "*.ntfy.example.org:8443"),
        ("https://127.0.0.1:8123/x", "127.0.0.1:8123"),
        ("https://[::1]:8123/x", "[::1]:8123"),
        ("https://[::1]/x", "[::1]"),
        ("https://localhost:8123/x", "localhost:8123"),
        ("https://xn--mnchen-3ya.example/x", "xn--mnchen-3ya.example"),
    ],
)
def test_an_operator_may_name_more(url: str, host: str) -> None:
    assert is_host(host)
    assert check_endpoint(url) is not None
    assert check_endpoint(url, ["other.example", host]) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://push.example.org:8443/x", "push.example.org"),
        ("https://push.example.org/x", "push.example.org:8443"),
        ("https://push.example.org:443/x", "push.example.org:443"),
        ("https://ntfy.example.org/x", "*.ntfy.example.org"),
        ("https://evilntfy.example.org/x", "*.ntfy.example.org"),
        ("https://a.ntfy.example.org:8443/x", "*.ntfy.example.org"),
        ("https://xn--mnchen-3ya.ntfy.example.org/x", "*.ntfy.example.org"),
        ("https://127.0.0.1/x", "*.0.1"),
        ("https://127.0.0.1:9000/x", "127.0.0.1:8123"),
        ("https://127.0.0.2:8123/x", "127.0.0.1:8123"),
        ("https://evil.example/x", "*"),
        ("https://evil.example/x", "*.example"),
        ("https://evil.example/x", ""),
        ("http://push.example.org/x", "push.example.org"),
        ("https://u:p@push.example.org/x", "push.example.org"),
    ],
)
def test_what_is_named_allows_no_more_than_it_says(url: str, host: str) -> None:
    assert check_endpoint(url, [host]) is not None


@pytest.mark.parametrize(
    "host", ["", "*", "*.", "*.org", "a.*.org", "https://a.org", "a.org/", "a.org:0", "A.org", "a b"]
)
def test_what_is_no_host_may_not_be_named(host: str) -> None:
    assert not is_host(host)


PIECE = st.sampled_from(
    [
        *"/:@#?\\.%[]*-_~ \t\n\x00é\uff21。\uff10",
        "https://", "http://", "//", "..", "%2e", "%2F", "%00", "%40", "xn--a", "443", "8123", "0x7f", "127.0.0.1",
        "::1", "evil.example", "fcm.googleapis.com", ".push.apple.com", "web", "wns.notify.windows.com", "/w?token=a",
    ]
)  # fmt: skip


def _named(host: str | None) -> bool:
    return host is not None and any(
        host.endswith(service[1:]) if service.startswith("*") else host == service for service in SERVICES
    )


@given(st.lists(PIECE, max_size=8).map("".join), st.sampled_from(["", "https://fcm.googleapis.com/", "https://"]))
@example("fcm.googleapis.com/x", "https://")
@example("web.push.apple.com/x", "https://")
def test_what_passes_is_read_the_same_by_every_parser(tail: str, start: str) -> None:
    url = start + tail
    if check_endpoint(url) is not None:
        return
    ours = origin(url).removeprefix("https://")
    library, client = urlsplit(url), URL(url)
    assert ours == library.netloc == library.hostname == client.raw_host == client.raw_authority
    assert _named(ours)
    assert library.scheme == client.scheme == "https"
    assert client.port == 443
    assert not library.fragment
    assert client.user is None
    assert str(client).isascii()
    assert unquote(client.raw_path) == unquote(library.path)


@given(st.text(max_size=40))
def test_any_text_is_judged(text: str) -> None:
    for url in (text, f"https://{text}", f"https://fcm.googleapis.com/{text}"):
        assert check_endpoint(url, [text]) is None or isinstance(check_endpoint(url, [text]), str)
        is_host(text)


def test_without_the_browsers_services_only_named_hosts_are_left() -> None:
    real = "https://updates.push.services.mozilla.com/wpush/v2/x"
    assert check_endpoint(real) is None
    assert check_endpoint(real, ["127.0.0.1:8123"], ()) is not None
    assert check_endpoint("https://127.0.0.1:8123/wpush/v2/x", ["127.0.0.1:8123"], ()) is None
