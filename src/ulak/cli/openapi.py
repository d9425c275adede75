"""What does the HTTP API look like to programs (``ulak openapi``) and in the docs (``--markdown``)?"""

from __future__ import annotations

import click


@click.command("openapi")
@click.option("--markdown", is_flag=True, help="Print the reference page of the docs instead.")
def command(*, markdown: bool) -> None:
    """Print the OpenAPI 3.1 description of the HTTP API.

    Its committed forms are spec/openapi.json and, with --markdown, docs/reference/http-api.md.
    """
    from ulak.edge.api import openapi, reference
    from ulak.edge.api.table import CALLS

    if markdown:
        click.echo(reference.markdown(openapi.describe(CALLS)), nl=False)
    else:
        click.echo(openapi.text(CALLS), nl=False)
