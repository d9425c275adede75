"""How does a node write its log: for a person at a terminal, as JSON for a machine?

No line holds a secret, an address or a payload: what is logged names ids, accounts and error types. An exception is
told by its type and the lines of code that raised it, without its text: PostgreSQL's quotes the row that it refused,
others what a stranger had sent.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from types import TracebackType

_Info = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Discreet(logging.Formatter):
    def formatException(self, ei: _Info) -> str:  # noqa: N802  # logging's name
        return "" if ei[1] is None else "".join(_trace(ei[1])).rstrip()


def _trace(error: BaseException) -> Iterator[str]:
    """What Python prints of an exception, those before it and those in it, without their texts."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _trace(before)
        yield "Then:\n"
    yield from traceback.format_tb(error.__traceback__)
    state = getattr(error, "sqlstate", None)
    yield f"{type(error).__qualname__}{f' ({state})' if state else ''}\n"
    for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield "One of them:\n"
        yield from _trace(each)


class _Json(_Discreet):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def set_up(level: str, *, access: bool = False) -> None:
    """Send the log to standard error; with ``access`` also a line for each request."""
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        handler.setFormatter(_Discreet("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    else:
        handler.setFormatter(_Json())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True
    if not access:
        logging.getLogger("ulak.access").setLevel(logging.WARNING)
