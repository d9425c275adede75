"""What may a template say, so that rendering it always ends soon and stays small?

MiniJinja's fuel counts instructions, not bytes: ``x ~ x`` forty times in a row is cheap to run and
impossible to store. So the language is cut down before anything runs: no macro, include, block,
capture or namespace, no method call, no multiplication, filters from a list, and a bound on how often
one expression can repeat what it is given (its *weight*: the number of values that it may join, where
a variable weighs as much as the expression that it was set from).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import minijinja

from ulak.core.fields import did_you_mean

ROOTS = ("data", "user", "notification", "actor", "unsubscribe_url", "preferences_url")
"""The variables that every template is given; the last two are empty where there is nothing to refuse by a link."""

FILTERS = frozenset(
    (
        "abs",
        "bool",
        "capitalize",
        "count",
        "currency",
        "d",
        "date",
        "datetime",
        "default",
        "dictsort",
        "first",
        "float",
        "groupby",
        "int",
        "items",
        "join",
        "last",
        "length",
        "lines",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "number",
        "percent",
        "plural",
        "reject",
        "rejectattr",
        "replace",
        "reverse",
        "round",
        "select",
        "selectattr",
        "sort",
        "split",
        "string",
        "striptags",
        "sum",
        "time",
        "times",
        "title",
        "tojson",
        "trim",
        "truncate",
        "unique",
        "upper",
        "urlencode",
    )
)
REMOVED_FILTERS = (
    "attr",
    "batch",
    "chain",
    "e",
    "escape",
    "filesizeformat",
    "format",
    "indent",
    "pluralize",
    "pprint",
    "safe",
    "slice",
    "wordwrap",
    "zip",
)
REMOVED_GLOBALS = ("debug", "dict", "namespace", "cycler", "joiner", "lipsum")
FUNCTIONS = ("range",)
STATEMENTS = ("if", "elif", "else", "endif", "for", "endfor", "set", "with", "endwith")
MAX_WEIGHT = 32
"""The most values that one expression may join."""

_WORDS = frozenset(
    (
        "and",
        "or",
        "not",
        "in",
        "is",
        "if",
        "else",
        "true",
        "false",
        "none",
        "True",
        "False",
        "None",
        "recursive",
    )
)
_OPEN = re.compile(r"\{\{|\{%|\{#")
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<close>[-+]?(?:\}\}|%\}))
    |(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    |(?P<number>[0-9][0-9_.]*(?:[eE][-+]?[0-9]+)?)
    |(?P<name>[^\W\d]\w*)
    |(?P<op>\*\*|//|==|!=|<=|>=|[-+*/%~|.,:()\[\]{}<>=])""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word of an expression."""

    kind: str
    text: str


class _Mistake(Exception):
    """What is wrong at this place."""


def mistakes(source: str, *, alone: bool = True) -> list[str]:
    """Say what is wrong with a template, one plain sentence each; empty when it can be used.

    Unless it stands ``alone``, others set variables for it.
    """
    environment = minijinja.Environment()
    try:
        environment.add_template("template", source)
    except minijinja.TemplateError as error:
        return [f"line {error.line or 1}: {error.detail or error.message}"]
    found = []
    weights: dict[str, int] = {}
    try:
        for line, block, tokens in _blocks(source):
            try:
                if block:
                    _check(tokens, weights)
                else:
                    _weigh(tokens, weights)
            except _Mistake as mistake:
                found.append(f"line {line}: {mistake}")
    except _Mistake as mistake:
        return [*found, str(mistake)]
    return found[:5] or (_strangers(environment, source) if alone else [])


def variables(source: str) -> set[str]:
    """Dotted paths that a template reads (``data.order.id``), without those it sets itself."""
    return set(minijinja.Environment().undeclared_variables_in_str(source, nested=True)) - set(FUNCTIONS)


def longest_literal(source: str) -> int:
    """The length of the longest text between two tags: what one instruction may add to the output."""
    end = longest = 0
    for match in _OPEN.finditer(source):
        longest, end = max(longest, match.start() - end), match.end()
    return max(longest, len(source) - end)


def _strangers(environment: minijinja.Environment, source: str) -> list[str]:
    unknown = set(environment.undeclared_variables_in_str(source, nested=False)) - {*ROOTS, *FUNCTIONS}
    known = f"; a template is given {', '.join(ROOTS)}"
    return [f"'{name}' is not defined{did_you_mean(name, ROOTS) or known}" for name in sorted(unknown)]


def _blocks(source: str) -> Iterator[tuple[int, bool, list[Token]]]:
    """Each tag: its line, whether it is a statement, its words."""
    at = 0
    while (match := _OPEN.search(source, at)) is not None:
        line = source.count("\n", 0, match.start()) + 1
        if match[0] == "{#":
            end = source.find("#}", match.end())
            at = len(source) if end < 0 else end + 2
            continue
        start = match.end() + (source[match.end() : match.end() + 1] in ("-", "+"))
        tokens, at = _words(source, start, line)
        yield line, match[0] == "{%", tokens
        if match[0] == "{%" and tokens and tokens[0].text == "raw":
            return


def _words(source: str, at: int, line: int) -> tuple[list[Token], int]:
    tokens: list[Token] = []
    depth = 0
    while (match := _TOKEN.match(source, at)) is not None:
        at = match.end()
        kind = match.lastgroup or ""
        if kind == "close":
            if depth:
                raise _Mistake(f"line {line}: put spaces between closing brackets and the end of the tag")
            return tokens, at
        if kind == "space":
            continue
        depth += (match[0] in "([{") - (match[0] in ")]}") if kind == "op" else 0
        tokens.append(Token(kind, match[0]))
    raise _Mistake(f"line {line}: '{source[at : at + 1]}' can't stand in a tag")


def _check(tokens: list[Token], weights: dict[str, int]) -> None:
    head = tokens[0].text if tokens else ""
    if head not in STATEMENTS:
        if head == "include":
            raise _Mistake('an include names its partial, in quotes and nothing else: {% include "footer" %}')
        raise _Mistake(f"'{head}' is not supported; statements are {', '.join(STATEMENTS)}")
    rest = tokens[1:]
    if head in ("set", "with"):
        _bind(head, rest, weights)
    elif head == "for":
        split = next((at for at, token in enumerate(rest) if token.text == "in"), len(rest))
        if any(token.text == "recursive" for token in rest):
            raise _Mistake("recursive loops are not supported")
        weight = _weigh(rest[split + 1 :], weights)
        _remember(rest[:split], weight, weights)
    else:
        _weigh(rest, weights)


def _bind(head: str, tokens: list[Token], weights: dict[str, int]) -> None:
    split = next((at for at, token in enumerate(tokens) if token.text == "="), None)
    if split is None:
        if head == "with" and not tokens:
            return
        raise _Mistake("a set needs '= value'; capturing a block is not supported")
    targets = tokens[:split]
    if any(token.text == "." for token in targets):
        raise _Mistake("only plain names can be set")
    # `with a = x, b = y` is weighed as one expression, and every name gets the weight of all.
    weight = _weigh(tokens[split + 1 :], weights)
    names = targets + [token for token, after in pairwise(tokens) if after.text == "="]
    _remember(names, weight, weights)


def _remember(targets: list[Token], weight: int, weights: dict[str, int]) -> None:
    for token in targets:
        if token.kind == "name":
            weights[token.text] = max(weight, weights.get(token.text, 1))


def _weigh(tokens: list[Token], weights: dict[str, int]) -> int:
    """Check one expression and say how many values it may join at most."""
    leaves = []
    joins = False
    brackets: list[str] = []
    before = Token("", "")
    for at, token in enumerate(tokens):
        after = tokens[at + 1] if at + 1 < len(tokens) else Token("", "")
        if token.kind == "op":
            joins |= _operator(token.text, tokens[max(at - 3, 0) : at], brackets)
        elif token.kind == "name" and _is_leaf(token, before, after, brackets):
            leaves.append(weights.get(token.text, 1))
        before = token
    # Literals weigh nothing: all of them together are no longer than the file.
    weight = max(1, sum(leaves) if joins else max(leaves, default=1))
    if weight > MAX_WEIGHT:
        raise _Mistake(f"this joins up to {weight} values; at most {MAX_WEIGHT} are allowed")
    return weight


def _operator(text: str, earlier: list[Token], brackets: list[str]) -> bool:
    """Whether an operator joins values; raises for those that are not allowed."""
    if text in ("*", "**"):
        raise _Mistake(f"'{text}' is not supported; for numbers use the filter times: price | times(2)")
    before = earlier[-1] if earlier else Token("", "")
    follows = (before.kind in ("name", "string") and before.text not in _WORDS) or before.text in (")", "]", "}")
    if text == "(":
        lead = [token.text for token in earlier[:-1]]
        filtered = lead[-1:] == ["|"] or lead[-1:] == ["is"] or lead[-2:] == ["is", "not"]
        function = before.text in FUNCTIONS and lead[-1:] != ["."]
        if follows and not (before.kind == "name" and (filtered or function)):
            raise _Mistake(f"'{before.text}(' can't be called; use filters, such as {{{{ data.name | upper }}}}")
        brackets.append("call" if follows else "group")
    elif text in ("[", "{"):
        brackets.append("index" if text == "[" and follows else "literal")
        return brackets[-1] == "literal"
    elif text in (")", "]", "}"):
        if brackets:
            brackets.pop()
    elif text == ",":
        return not brackets or brackets[-1] in ("group", "literal")
    return text in ("~", "+")


def _is_leaf(token: Token, before: Token, after: Token, brackets: list[str]) -> bool:
    """Whether a name stands for a value of its own; raises for unknown filters."""
    if before.text == "|":
        if token.text not in FILTERS:
            raise _Mistake(f"there is no filter '{token.text}'{did_you_mean(token.text, FILTERS)}")
        return False
    if before.text == "is" or token.text in _WORDS:
        return False
    return before.text != "." and not (brackets and after.text == "=")
