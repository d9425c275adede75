"""Is every text that is dangerous refused, and every other read as it stands?"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core import jsonsafe
from ulak.core.invalid import Invalid, moved, under

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_whatever_json_writes_is_read(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    found, canonical = jsonsafe.loads(text)
    assert found == value
    assert json.loads(canonical) == value


@given(JSON)
def test_the_canonical_form_forgets_order_and_blanks(value: Any) -> None:
    once = jsonsafe.loads(json.dumps(value, indent=2).encode())[1]
    again = jsonsafe.loads(json.dumps(value, sort_keys=True, ensure_ascii=False).encode())[1]
    assert once == again


DANGEROUS = [
    (b"", "invalid_json", "$"),
    (b"{", "invalid_json", "$"),
    (b"{}x", "invalid_json", "$"),
    (b"\xef\xbb\xbf{}", "invalid_json", "$"),
    ("{}".encode("utf-16"), "invalid_json", "$"),
    (b'{"a":"\xff"}', "invalid_json", "$"),
    (b'{"a":"\xed\xa0\x80"}', "invalid_json", "$"),
    (b'{"\xed\xa0\x80":1}', "invalid_json", "$"),
    (b'{"a":"\x00"}', "invalid_json", "$"),
    (b'{"a":NaN}', "invalid_json", "$"),
    (b'{"a":Infinity}', "invalid_json", "$"),
    (b'{"a":"\\ud800"}', "invalid_json", "$"),
    (b'{"a":"\\udc00\\ud800"}', "invalid_json", "$"),
    (b'{"\\ud800":1}', "invalid_json", "$"),
    (b'{"a":1e999}', "number_out_of_range", None),
    (b'{"a":' + b"1" * 5_000 + b"}", "number_out_of_range", None),
    (b'{"a":18446744073709551616}', "number_out_of_range", "$.a"),
    (b'{"a":[-9223372036854775809]}', "number_out_of_range", "$.a[0]"),
    (b'{"a":{"b":"x\\u0000"}}', "nul_character", "$.a.b"),
    (b'{"a":{"\\u0000b":1}}', "nul_character", "$.a['\\x00b']"),
    (b'{"a":1,"a":1}', "duplicate_key", "$.a"),
    (b'{"x":[{"a":1,"\\u0061":1}]}', "duplicate_key", "$.x[0].a"),
    (b'{"x":{"a":{"deep":":"},"a":0}}', "duplicate_key", "$.x.a"),
    (b'{"k":"\\u003a","a":1,"a":1}', "duplicate_key", "$.a"),
    (b"[" * 33 + b"]" * 33, "too_deep", "$"),
    (b'{"a":' * 33 + b"1" + b"}" * 33, "too_deep", "$"),
    (b"[" * 100_000 + b"]" * 100_000, "too_deep", "$"),
    (b'{"a":' * 100_000, "too_deep", "$"),
    (b'{"a":[' * 50_000, "too_deep", "$"),
]


@pytest.mark.parametrize(("body", "code", "path"), DANGEROUS)
def test_a_dangerous_text_is_refused_with_its_place(body: bytes, code: str, path: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        jsonsafe.loads(body)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert path is None or caught.value.path == path


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 32 + b"]" * 32,
        b'{"a":"' + b"[" * 200 + b'"}',
        b'{"a":"\\\\u0000","b":"\\u003a:"}',
        b'{"a":"\\ud83d\\ude00","b":18446744073709551615,"c":-9223372036854775808}',
        b'{"phone":"00000000000000000000000000"}',
    ],
)
def test_what_only_looks_dangerous_is_read(body: bytes) -> None:
    assert jsonsafe.loads(body)[0] == json.loads(body)


@given(JSON, st.randoms(use_true_random=False))
def test_a_repeated_key_is_always_found(value: Any, random: Any) -> None:
    """The count of colons can't be fooled by colons inside of strings."""
    objects: list[dict[str, Any]] = []

    def collect(part: Any) -> None:
        if isinstance(part, dict):
            objects.append(part)
        for member in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            collect(member)

    collect(value)
    filled = [part for part in objects if part]
    if not filled:
        return
    chosen = random.choice(filled)
    key = random.choice(list(chosen))
    mark = "\ue000mark"
    chosen[mark] = random.choice([1, ":", {"x": ":"}])
    text = json.dumps(value, ensure_ascii=False)
    text = text.replace(json.dumps(mark, ensure_ascii=False), json.dumps(key), 1)
    with pytest.raises(Invalid) as caught:
        jsonsafe.loads(text.encode())
    assert caught.value.code == "duplicate_key"


def test_msgspec_alone_would_let_these_pass() -> None:
    """Why the checks of our own are there: without them these bodies would be read."""
    for body in (b'{"a":1,"a":1}', b'{"a":"\\u0000"}', b'{"a":18446744073709551616}', b"[" * 33 + b"]" * 33):
        msgspec.json.decode(body)


def test_paths_quote_what_is_no_word() -> None:
    assert under("$", "a b'c\n") == "$['a b\\'c\\n']"
    assert under("$.to", 3) == "$.to[3]"
    assert moved(Invalid(422, "c", "$.type", "m"), "$.notifications[2]").path == "$.notifications[2].type"
    assert moved(Invalid(422, "c", "Idempotency-Key", "m"), "$.x").path == "Idempotency-Key"
