"""Is everything refused that could make a template run away, and nothing that an honest one needs?"""

from __future__ import annotations

import pytest

from ulak.core import template
from ulak.core.template import longest_literal, mistakes, variables


@pytest.mark.parametrize(
    "source",
    [
        "Hi {{ data.name }}{# a {{ comment #}",
        "{{ data.first ~ ' ' ~ data.last }}",
        "{% set name = data.first ~ ' ' ~ data.last %}{% set other = name | upper %}{{ other }}",
        "{% for x in data.items if x.ok %}{{ loop.index }}. {{ x.n + 1 }}{% else %}none{% endfor %}",
        "{% if data.n is divisibleby(3) and not (data.k in [1, 2]) %}{% elif user.id is not none %}{% endif %}",
        "{{ data.list | map(attribute='x') | join(', ') }} {{ data.s[:10] }} {{ data['a b'] }} {{ -data.n }}",
        "{{ (data.issue | default({}, true)).title | default('(no title)', true) }}",
        "{% with a = data.x, b = 2 %}{{ a }}{{ b }}{% endwith %}",
        "{% for k, v in data.d | items %}{{ k }}{{ v }}{% endfor %}",
        "{{ 'braces }} in a string' }}{{- data.x -}}{%- if data.x -%}{% endif %}",
        "{{ range(3) | list }} {{ data.price | times(2) }} {{ 10 / 2 - 1 }} {{ data.ok and 'a' or 'b' }}",
        "".join(f"{{% set n{i} = data.a ~ data.b %}}" for i in range(100)),
    ],
)
def test_an_honest_template_is_taken(source: str) -> None:
    assert mistakes(source) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ data.x", "unexpected end"),
        ("a\n{{ data.x | uper }}", "line 2: there is no filter 'uper'; did you mean 'upper'?"),
        ("{{ dta.x }}", "'dta' is not defined; did you mean 'data'?"),
        ("{{ 'a' * 3 }}", "'*' is not supported"),
        ("{{ 2 ** 9 }}", "'**' is not supported"),
        ("{{ data.clear() }}", "can't be called"),
        ("{{ 'a'.format(1) }}", "can't be called"),
        ("{{ data['clear']() }}", "can't be called"),
        ("{{ (data.f)() }}", "can't be called"),
        ("{{ not debug() }}", "can't be called"),
        ("{{ data.range(3) }}", "can't be called"),
        ("{{ namespace(x=1) }}", "can't be called"),
        ("{{ loop(data.x) }}", "can't be called"),
        ("{{ data.x | safe }}", "no filter 'safe'"),
        ("{{ data.x | format(1) }}", "no filter 'format'"),
        ("{% set x %}{{ data.x }}{% endset %}", "capturing a block"),
        ("{% set data.x = 1 %}", "plain names"),
        ("{% for x in data.x recursive %}{% endfor %}", "recursive"),
        ("{% raw %}{{ x }}{% endraw %}", "'raw' is not supported"),
        ("{% macro f() %}{% endmacro %}", "'macro' is not supported"),
        ("{% include data.x %}", "an include names its partial, in quotes"),
        ("{% import 'x' as y %}", "'import' is not supported"),
        ("{% extends 'x' %}", "'extends' is not supported"),
        ("{% block a %}{% endblock %}", "'block' is not supported"),
        ("{% filter upper %}{% endfilter %}", "'filter' is not supported"),
        ("{% autoescape false %}{% endautoescape %}", "'autoescape' is not supported"),
        ("{{ {'a': {'b': 1}} }}", "put spaces"),
    ],
)
def test_a_mistake_is_named(source: str, message: str) -> None:
    assert message in "; ".join(mistakes(source))


@pytest.mark.parametrize(
    "source",
    [
        "{% set x = data.a ~ data.a %}" + "{% set x = x ~ x %}" * 7,
        "{% set x = data.a + data.a %}" + "{% set x = x + x %}" * 7,
        "{% set x = [data.a, data.a, data.a, data.a] %}" + "{% set x = [x, x, x, x] %}" * 3,
        "{% set x = {'a': data.a, 'b': data.a, 'c': data.a} %}" + "{% set x = {'a': x, 'b': x, 'c': x} %}" * 3,
        "{% set x = (data.a, data.a) %}" + "{% set x = (x, x) %}" * 7,
        "{% set x = data.a, data.a %}" + "{% set x = x, x %}" * 7,
        "{% for x in [data.a ~ data.a ~ data.a] %}" + "{% for x in [x ~ x ~ x] %}" * 4 + "{% endfor %}" * 5,
        "{% with x = data.a ~ data.a %}" + "{% with x = x ~ x %}" * 7 + "{% endwith %}" * 8,
        "{{ " + " ~ ".join(["data.a"] * 65) + " }}",
    ],
)
def test_what_would_double_again_and_again_is_refused(source: str) -> None:
    assert "values; at most 32" in mistakes(source)[0]


def test_doubling_is_not_noticed_without_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MAX_WEIGHT", 10**9)
    assert mistakes("{% set x = data.a ~ data.a %}" + "{% set x = x ~ x %}" * 7) == []


def test_what_a_template_reads() -> None:
    assert variables("{% for i in data.xs %}{{ i.q }}{% endfor %}{{ data.a.b }}{{ range(3) }}") == {
        "data.xs",
        "data.a.b",
    }
    assert longest_literal("abc{{ x }}abcdefgh{% if x %}ab") >= 8
