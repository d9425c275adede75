"""Where do the Markdown files point to nothing?

Checks every relative link, image and ``href``/``src`` of inline HTML in all ``*.md`` files: the target
must exist inside the tree, and an anchor must be a heading (by GitHub's rule for anchors) or an ``id``
of the target. Links to other sites are not followed. Exit status 1 when anything is broken.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pyromark

SKIPPED = {"node_modules", "site", "dist", "build"}
OPTIONS = pyromark.Options.ENABLE_TABLES | pyromark.Options.ENABLE_FOOTNOTES
_ATTRIBUTE = re.compile(r"""<[a-z][^>]*?\s(href|src|id|name)\s*=\s*["']([^"']+)["']""", re.IGNORECASE)


class Page(NamedTuple):
    """What one file links to, and the anchors that it offers."""

    links: tuple[str, ...]
    anchors: frozenset[str]


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def read(text: str) -> Page:
    """Find the links and anchors of a Markdown text; code is neither."""
    links: list[str] = []
    anchors: set[str] = set()
    heading: list[str] | None = None
    for event in pyromark.events(text, options=OPTIONS):
        name, value = next(iter(event.items())) if isinstance(event, dict) else (event, None)
        if name == "Start" and isinstance(value, dict):
            links += [part["dest_url"] for kind, part in value.items() if kind in {"Link", "Image"}]
            heading = [] if "Heading" in value else heading
        elif name == "End" and isinstance(value, dict) and "Heading" in value and heading is not None:
            anchors.add(_unused(slug("".join(heading)), anchors))
            heading = None
        elif name in {"Text", "Code"} and heading is not None:
            heading.append(str(value))
        elif name in {"Html", "InlineHtml"}:
            for attribute, target in _ATTRIBUTE.findall(str(value)):
                (anchors.add if attribute.lower() in {"id", "name"} else links.append)(target)
    return Page(tuple(links), frozenset(anchors))


def _unused(anchor: str, taken: set[str]) -> str:
    """GitHub numbers headings that repeat: ``x``, ``x-1``, ``x-2``."""
    n, candidate = 0, anchor
    while candidate in taken:
        n += 1
        candidate = f"{anchor}-{n}"
    return candidate


def pages(root: Path) -> Iterator[Path]:
    """All Markdown files below ``root``, hidden folders and build products left out."""
    for path in sorted(root.rglob("*.md")):
        parts = path.relative_to(root).parts
        if not any(part in SKIPPED or part.startswith(".") for part in parts):
            yield path


def broken(root: Path) -> Iterator[str]:
    """Describe each link that leads nowhere, as ``file: link: reason``."""
    page = cache(lambda path: read(path.read_text(encoding="utf-8")))
    for path in pages(root):
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            reason = ""
            if not target.is_relative_to(root):
                reason = "leaves the tree"
            elif not target.exists():
                reason = "no such file"
            elif parts.fragment and target.suffix == ".md" and unquote(parts.fragment) not in page(target).anchors:
                reason = "no such heading"
            if reason:
                yield f"{path.relative_to(root)}: {link}: {reason}"


def main(arguments: list[str]) -> int:
    """Check the tree named by the first argument, or the current one."""
    root = Path(arguments[0] if arguments else ".").resolve()
    problems = list(broken(root))
    for problem in problems:
        print(problem)
    print(f"{len(list(pages(root)))} pages, {len(problems)} broken links")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
