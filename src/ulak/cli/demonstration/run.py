"""How does one run go, from an empty folder to the judged evidence?"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from ulak.cli.client import Client
from ulak.cli.demonstration import gather, project, witness
from ulak.cli.demonstration.devices import TROUBLES, equip
from ulak.cli.demonstration.drive import Pace, drive, patiently
from ulak.cli.demonstration.evidence import Accepted, Evidence
from ulak.cli.demonstration.judge import judge
from ulak.cli.demonstration.people import Person
from ulak.cli.demonstration.program import Program
from ulak.cli.demonstration.report import Run
from ulak.cli.demonstration.sockets import Listener
from ulak.cli.demonstration.stack import LOOPBACK, Keeper, say, spawn
from ulak.io.embedded import postgres

FUSE = 8.0
"""Seconds without a death after the traffic for it was answered: then the node is killed wherever it is."""

TOKEN_SECONDS = 86_400

TROUBLE = {
    "at": "request",
    "do": "reply",
    "vendor": "ses",
    "status": 400,
    "headers": {"x-amzn-ErrorType": "SendingPausedException"},
    "body": '{"message": "Email sending is disabled for this account."}',
    "every": 4,
}
"""What one of the fake vendors answers each fourth time: another account has to go on."""

Progress = Callable[[str, int, int], None]
"""Told the step's name, how much of it is done, and of how much (0: not known)."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run: the program, the project folder with its types, the seed, requests a second.

    ``keep`` is a folder to run in and to leave behind.
    """

    program: Program
    example: Path
    kinds: Mapping[str, project.Kind]
    seed: int = 0
    rate: float = 0.0
    keep: Path | None = None


@dataclass(frozen=True, slots=True)
class Witnessed:
    """Where the sandbox is steered, and what it writes down."""

    url: str
    log: Path


@dataclass(slots=True)
class Clock:
    """When requests went out and when their items landed on open sockets (monotonic seconds)."""

    landings: list[tuple[str, float]] = field(default_factory=list)

    def landed(self, notification: str, at: float) -> None:
        """Note one live item."""
        self.landings.append((notification, at))

    def latencies(self, accepted: Sequence[Accepted]) -> list[float]:
        """Milliseconds from a request to each of its live items; requests that had to be repeated are left out."""
        sent = {one.id: one.sent for one in accepted if one.tries == 1}
        return [(at - sent[number]) * 1000 for number, at in self.landings if number in sent]


def perform(order: Order, progress: Progress) -> Run:
    """Run it and clean up behind it, whatever happens. Called in the main thread.

    Raises ``StackError``, ``EmbeddedError``, ``Unanswered`` or ``Refused`` when it could not be carried through.
    """
    started = time.monotonic()
    folder = order.keep or Path(tempfile.mkdtemp(prefix="ulak-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # ours alone: the server's account may pass through, and list nothing
    progress("starting", 0, 0)
    try:
        with postgres.start(folder / "data") as server:
            run = asyncio.run(_stoppable(_perform(order, folder, server.url, progress)))
    except ExceptionGroup as group:
        raise _first(group) from None
    finally:
        if order.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return replace(run, seconds=time.monotonic() - started)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """One of the errors that ended several tasks at once; the others followed from it or say the same."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error


async def _stoppable(work: Coroutine[None, None, Run]) -> Run:
    """Let SIGTERM end a run as Ctrl-C does: in good order."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _perform(order: Order, folder: Path, database: str, progress: Progress) -> Run:
    log = folder / "sandbox.jsonl"
    ports = [text for name in ("smtp", "http", "vendor", "push") for text in (f"--{name}-port", "0")]
    sandbox = await spawn("sandbox", ["sandbox", *ports, "--log", str(log)], folder)
    try:
        where = await sandbox.ready()
        project.copy(order.example, folder / "project")
        vendors = {
            "ULAK_SANDBOX_SMTP": f"{LOOPBACK}:{where['smtp_port']}",
            "ULAK_SANDBOX_VENDORS": str(where["vendors_url"]),
            "ULAK_SANDBOX_PUSH": json.dumps(where["push"]),
        }
        keeper = Keeper(folder / "project", folder, database, order.program.kills, vendors)
        async with Client(str(where["url"]), "") as client:
            await client.call("POST", "/vendors/faults", body=TROUBLE)
            await client.call("POST", "/push/faults", body=TROUBLES)
        await say("migrate", ["migrate"], folder, {"ULAK_DATABASE_URL": database})
        made = await say(
            "keys", ["keys", "create", "--scopes", "all", "--json"], folder, {"ULAK_DATABASE_URL": database}
        )
        try:
            await keeper.start()
            witnessed = Witnessed(str(where["url"]), log)
            return await _beside(keeper, _story(order, keeper, str(json.loads(made)["key"]), witnessed, progress))
        finally:
            await keeper.stop()
    finally:
        await sandbox.stop()


async def _beside(keeper: Keeper, story: Coroutine[None, None, Run]) -> Run:
    """Run the story while the keeper keeps the node alive; whichever fails first ends both."""
    keeping = asyncio.create_task(keeper.keep())
    telling = asyncio.create_task(story)
    try:
        await asyncio.wait({keeping, telling}, return_when=asyncio.FIRST_COMPLETED)
        if not telling.done():
            await keeping  # it only ends by an error
        return await telling
    finally:
        for task in (keeping, telling):
            task.cancel()
        await asyncio.gather(keeping, telling, return_exceptions=True)


async def _story(order: Order, keeper: Keeper, key: str, witnessed: Witnessed, progress: Progress) -> Run:
    program, clock = order.program, Clock()
    accepted: list[Accepted] = []
    async with Client(keeper.url, key) as client:
        tokens = await _introduce(client, program)
        await equip(client, witnessed.url, program.people)
        async with _listening(client, program.people, tokens, order.seed, clock) as listeners:

            def answered(one: Accepted) -> None:
                accepted.append(one)
                progress("sending", len(accepted), len(program.posts))

            await _send(client, keeper, order, accepted, answered)
            left = await gather.settle(client, lambda number: progress("settling", -number, 0))
            lines = await gather.timelines(
                client,
                accepted,
                order.kinds,
                lambda number: progress("judging", number, len(accepted)),
                0.0 if left else gather.STILL,
            )
            await _resume(listeners)
        evidence = Evidence(
            accepted=accepted,
            listed=await gather.listed(client),
            timelines=lines,
            sockets=[listener.log for listener in listeners],
            inboxes={
                person.id: await gather.inbox(keeper.url, tokens[person.id])
                for person in program.people
                if not person.has_socket
            },
            mails=list(witness.mails(witnessed.log)),
            pushes=list(witness.pushes(witnessed.log)),
        )
    verdict = judge(evidence, program.people, order.kinds)
    sent = len(evidence.mails), 0.0, len(evidence.pushes)
    return Run(verdict, clock.latencies(accepted), list(keeper.deaths), *sent)


async def _introduce(client: Client, program: Program) -> dict[str, str]:
    """Make the users, their choices, the topics and the users' tokens."""
    tokens: dict[str, str] = {}
    for person in program.people:
        path = f"/v1/users/{quote(person.id, safe='')}"
        if not person.inline:
            known = {"email": person.email, "locale": person.locale}
            await patiently(client, "PUT", path, body={name: value for name, value in known.items() if value})
        if person.muted:
            choices = [
                {"category": category, "channel": "email", "allowed": False} for category in sorted(person.muted)
            ]
            await patiently(client, "PUT", f"{path}/preferences", body={"preferences": choices})
        if person.suppressed:
            gone = {"channel": "email", "address": person.email, "reason": "manual"}
            await patiently(client, "POST", "/v1/suppressions", body=gone)
        answer, _ = await patiently(client, "POST", f"{path}/tokens", body={"ttl": TOKEN_SECONDS})
        tokens[person.id] = answer.body["token"]
    for topic, members in program.topics.items():
        for member in members:
            await patiently(
                client, "PUT", f"/v1/topics/{quote(topic, safe='')}/subscribers/{quote(member, safe='')}", body={}
            )
    return tokens


@asynccontextmanager
async def _listening(
    client: Client, people: Sequence[Person], tokens: Mapping[str, str], seed: int, clock: Clock
) -> AsyncIterator[list[Listener]]:
    """Keep a socket open for each user who has one."""
    listeners = [
        Listener(
            person,
            client,
            tokens[person.id],
            random.Random(f"acts/{seed}/{person.id}"),  # a repeatable run, not a secret
            clock.landed,
        )
        for person in people
        if person.has_socket
    ]
    tasks = [asyncio.create_task(listener.run()) for listener in listeners]
    try:
        await _all_caught_up(listeners, tasks)
        yield listeners
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _all_caught_up(listeners: Sequence[Listener], tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all; a listener that was turned away raises here."""

    async def all_there() -> None:
        await asyncio.gather(*(listener.caught_up() for listener in listeners))

    waiting = asyncio.create_task(all_there())
    async with asyncio.timeout(60):
        await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        await waiting


async def _send(
    client: Client,
    keeper: Keeper,
    order: Order,
    accepted: Sequence[Accepted],
    answered: Callable[[Accepted], None],
) -> None:
    """Post everything, a stretch of it in each life of the node, and see to it that every kill happens."""
    program, pace = order.program, Pace(order.rate)
    stretch = max(1, len(program.posts) // (len(program.kills) + 1))

    async def gate(place: int) -> None:
        await keeper.until_deaths(min(place // stretch, len(program.kills)))
        await pace.turn()

    fuse = asyncio.create_task(_fuse(keeper, accepted, stretch, len(program.posts)))
    try:
        await drive(client, program.posts, gate, answered)
        await keeper.until_deaths(len(program.kills))
    finally:
        fuse.cancel()
        await asyncio.gather(fuse, return_exceptions=True)


async def _fuse(keeper: Keeper, accepted: Sequence[Accepted], stretch: int, posts: int) -> None:
    """Kill the node by hand where a stretch is over and its failpoint was not reached."""
    while not keeper.spent:
        deaths = len(keeper.deaths)
        burnt = 0.0
        while len(keeper.deaths) == deaths and burnt < FUSE:
            await asyncio.sleep(0.25)
            over = len(accepted) >= min(stretch * (deaths + 1), posts)
            burnt = burnt + 0.25 if over else 0.0
        if len(keeper.deaths) == deaths:
            keeper.kill()
            await keeper.until_deaths(deaths + 1)


async def _resume(listeners: Sequence[Listener]) -> None:
    """Make every socket come back once more, so that what was missed (if anything) shows up in its place."""
    for listener in listeners:
        await listener.again()
    async with asyncio.timeout(60):
        await asyncio.gather(*(listener.caught_up() for listener in listeners))
