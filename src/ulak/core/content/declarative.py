"""What does a browser get of a push notification: which JSON, and how is it made short enough?

A declarative push message (https://w3c.github.io/push-api/#declarative-push-message): browsers that know the form show
it by themselves, others hand it to the app's service worker (``clients/js/push-worker.js``), which shows the same.
A silent one shows nothing, so it is no declarative message but plain data for the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ulak.core.content.push import PushContent
from ulak.core.content.shrink import shrink

MARK = 8_030
"""By this number a browser tells the form from other JSON."""


@dataclass(frozen=True, slots=True)
class Around:
    """What a message carries besides its content.

    ``tag`` makes a newer notification replace one that is shown; ``badge`` is the user's unread items; ``told``
    what the worker has to know of us: pairs under ``data.ulak``. ``watched``: the worker is wanted even where the
    browser could do without it, because somebody wants to hear that it was shown.
    """

    tag: str
    badge: int
    told: Mapping[str, str] = field(default_factory=dict)
    watched: bool = False


class _Action(msgspec.Struct, gc=False, omit_defaults=True):
    action: str
    title: str
    navigate: str | None = None
    icon: str | None = None


class _Notification(msgspec.Struct, gc=False, omit_defaults=True):
    data: Mapping[str, str | Mapping[str, str]]
    title: str | None = None
    body: str = ""
    navigate: str | None = None
    icon: str | None = None
    image: str | None = None
    tag: str | None = None
    silent: bool = False
    actions: list[_Action] = []


class _Push(msgspec.Struct, gc=False, omit_defaults=True):
    notification: _Notification
    web_push: int | None = None
    app_badge: int | None = None
    mutable: bool = False


_encode = msgspec.json.Encoder().encode


def declarative(content: PushContent, around: Around, most: int) -> bytes | None:
    """The notification as JSON of at most ``most`` octets: the body is cut first, then the title.

    None when even the shortest texts don't make it fit. There is no subtitle on the web, so it opens the body.
    """
    body = "\n".join(filter(None, (content.subtitle, content.body)))

    def made(texts: Sequence[str]) -> bytes:
        return _encode(_push(content, around, *texts))

    whole = made((body, content.title))
    if len(whole) <= most:
        return whole
    cut = shrink((body, content.title), lambda texts: len(made(texts)) <= most)
    return None if cut is None else made(cut)


def _push(content: PushContent, around: Around, body: str, title: str) -> _Push:
    data: dict[str, str | Mapping[str, str]] = {**content.data, "ulak": around.told}
    badge = around.badge if content.badge else None
    if content.silent:
        return _Push(_Notification(data), None, badge)
    shown = _Notification(
        data=data,
        title=title,
        body=body,
        navigate=content.url,
        icon=content.icon,
        image=content.image,
        tag=around.tag,
        silent=content.sound is None,
        # A button that leads nowhere would spoil the form, so it leads where the notification does.
        actions=[_Action(each.name, each.title, each.url or content.url, each.icon) for each in content.actions],
    )
    return _Push(shown, MARK, badge, around.watched)
