"""What may a template say, so that rendering it always ends soon and stays small?

First version: syntax only.
"""

from __future__ import annotations

import minijinja


def mistakes(source: str) -> list[str]:
    """Say what is wrong with a template, one plain sentence each; empty when it can be used."""
    try:
        minijinja.Environment().add_template("template", source)
    except minijinja.TemplateError as error:
        return [f"line {error.line or 1}: {error.detail or error.message}"]
    return []
