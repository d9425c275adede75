"""What waits to be told to the other nodes, and to which of them does each piece go?

Bounded: beyond a weight news lose their content, beyond a number they are dropped and counted, as are
ephemeral messages. Whoever misses news finds the change by comparing revisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec import structs

from ulak.core.inbox import News
from ulak.io.bus import Place
from ulak.io.valkey.asking import Asked
from ulak.io.valkey.wire import Answer, Said, Tell

T = TypeVar("T", News, Said)

MOST_NEWS = 100_000
MOST_SAID = 10_000
AT_ONCE = 5_000
"""News of one parcel, so that a campaign keeps neither the loop nor questions waiting."""
MOST_WEIGHT = 16_000_000
"""Characters of content that wait at most."""
LARGEST_ITEM = 8_192
"""Characters of an item that is sent with its news; a larger one is read by whoever needs it."""
_LETTER = 512_000


@dataclass(slots=True)
class Parcel:
    """All that waited at one moment. ``answers`` go to the node that asked."""

    news: list[News] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    answers: list[tuple[int, Answer]] = field(default_factory=list)

    def places(self) -> list[Place]:
        """The users and topics whose holders have to be found."""
        found: dict[Place, None] = {("u", news.tenant, news.user): None for news in self.news}
        found |= {("t", said.tenant, said.topic): None for said in self.said if said.topic is not None}
        for asked in self.asked:
            question = asked.question
            if question.connection is None and question.user is not None:
                found["u", question.tenant, question.user] = None
        return list(found)

    def letters(self, by: int, holders: Mapping[Place, Sequence[int]]) -> Iterator[tuple[int, Tell]]:
        """What each node is to be told, in messages of bounded size; without what is said to everybody."""
        news: dict[int, list[News]] = {}
        said: dict[int, list[Said]] = {}
        for one in self.news:
            for boot in holders.get(("u", one.tenant, one.user), ()):
                news.setdefault(boot, []).append(one)
        for message in self.said:
            if message.topic is not None:
                for boot in holders.get(("t", message.tenant, message.topic), ()):
                    said.setdefault(boot, []).append(message)
        for boot, some_news in news.items():
            yield from ((boot, Tell(by, news=part)) for part in _parts(some_news))
        for boot, some_said in said.items():
            yield from ((boot, Tell(by, said=part)) for part in _parts(some_said))

    def for_everybody(self, by: int) -> Iterator[Tell]:
        """What every node is to be told."""
        yield from (Tell(by, said=part) for part in _parts([said for said in self.said if said.topic is None]))


class Outgoing:
    """The queue before the bus."""

    def __init__(self) -> None:
        self._parcel = Parcel()
        self._weight = 0
        self.dropped_news = 0
        self.dropped_said = 0

    def __bool__(self) -> bool:
        parcel = self._parcel
        return bool(parcel.news or parcel.said or parcel.asked or parcel.answers)

    def news(self, news: Sequence[News]) -> None:
        """Queue news."""
        room = MOST_NEWS - len(self._parcel.news)
        self.dropped_news += max(0, len(news) - room)
        for one in news[:room]:
            size = _content(one)
            if size > LARGEST_ITEM or self._weight + size > MOST_WEIGHT:
                one, size = structs.replace(one, item=None), 0
            self._weight += size
            self._parcel.news.append(one)

    def said(self, said: Said) -> bool:
        """Queue an ephemeral message; False when it is dropped."""
        if len(self._parcel.said) >= MOST_SAID or self._weight + len(said.text) > MOST_WEIGHT:
            self.dropped_said += 1
            return False
        self._weight += len(said.text)
        self._parcel.said.append(said)
        return True

    def ask(self, asked: Asked) -> None:
        """Queue a question."""
        self._parcel.asked.append(asked)

    def answer(self, to: int, answer: Answer) -> None:
        """Queue an answer."""
        self._parcel.answers.append((to, answer))

    def take(self) -> Parcel:
        """Everything that waits, of news the oldest ``AT_ONCE``."""
        parcel, self._parcel = self._parcel, Parcel(news=self._parcel.news[AT_ONCE:])
        del parcel.news[AT_ONCE:]
        self._weight -= _weight(parcel.news) + _weight(parcel.said)
        return parcel

    def failed(self, parcel: Parcel) -> None:
        """It could not be told: news come again, without content; the rest is given up."""
        later, self._parcel.news = self._parcel.news, []
        self._weight -= _weight(later)
        self.news([structs.replace(one, item=None) if one.item is not None else one for one in parcel.news])
        self.news(later)
        self.dropped_said += len(parcel.said)
        for asked in parcel.asked:
            asked.give_up()


def _parts(pieces: Sequence[T]) -> Iterator[list[T]]:
    """Cut into parts whose texts have a bounded length."""
    part: list[T] = []
    size = 0
    for piece in pieces:
        own = 64 + _content(piece)
        size += own
        if part and size > _LETTER:
            yield part
            part, size = [], own
        part.append(piece)
    if part:
        yield part


def _content(piece: News | Said) -> int:
    """How long its text is."""
    return len((piece.item or "") if isinstance(piece, News) else piece.text)


def _weight(pieces: Sequence[News] | Sequence[Said]) -> int:
    return sum(_content(piece) for piece in pieces)
