"""How do the doors of a node share one port, and how does a process run from its first to its last moment?

Beside ``node`` (the stages) the other half of the wiring: API, gateway, bus, and the server they run in.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
import socket
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import uvicorn
import uvloop

from ulak.core.handshake import Networks
from ulak.core.issuer import Issuer
from ulak.core.loaded import Loaded
from ulak.core.model import Account, Channel
from ulak.core.project import load
from ulak.core.registration import ApplicationServer, application_servers
from ulak.edge.api import Api, ApiDeps
from ulak.edge.callbacks import PREFIX, Accounts, CallbackDeps, CallbackDoor
from ulak.edge.gateway import Gateway, GatewaySettings, Hub, Rights, Room, Surroundings, streams
from ulak.edge.gateway.listening import Listening
from ulak.edge.gateway.plain import SOCKET, tell_to_upgrade
from ulak.edge.gateway.presence import Presence
from ulak.edge.guard import HttpGuard
from ulak.edge.links import PREFIXES, LinkDeps, LinkDoor
from ulak.flow.receipts import PushReceipts, Receipts
from ulak.io.bus import Bus, LocalBus
from ulak.io.embedded.errors import EmbeddedError
from ulak.io.embedded.postgres import RunningPostgres
from ulak.io.outbound.egress import networks
from ulak.io.outbound.http import HttpClient
from ulak.io.outbound.jwks import AT_ONCE, BODY_CAP
from ulak.io.postgres import nodes
from ulak.io.postgres.callbacks import Callbacks
from ulak.io.postgres.catalogs import apply
from ulak.io.postgres.consents import Consents
from ulak.io.postgres.devices import Devices
from ulak.io.postgres.errors import EXPECTED
from ulak.io.postgres.keys import Keys
from ulak.io.postgres.migrate import migrate
from ulak.io.postgres.operate import Operations
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.push_counts import PushCounts
from ulak.io.postgres.reads import Reads
from ulak.io.postgres.revocations import Revocations
from ulak.io.postgres.scores import Scores
from ulak.io.postgres.secrets import Secrets
from ulak.io.postgres.suppressions import Suppressions
from ulak.io.postgres.topics import Topics
from ulak.io.postgres.tracking import Tracking
from ulak.io.postgres.users import Users
from ulak.io.project import read_folder
from ulak.io.tokens import Stores, Times, Tokens
from ulak.io.valkey.bus import ValkeyBus
from ulak.io.valkey.link import is_url
from ulak.node import Node, account_with_secrets, allowed_networks, sandboxed
from ulak.settings import SettingError, Settings

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_EMPTY = {"ulak.toml": ""}
_STEP = 1.0
_ALIVE = 5.0
BROKEN = 70
"""Exit code of a node that ended by a fault of ours (EX_SOFTWARE of sysexits)."""


class _Inboxes:
    """The inbox as the API needs it: the receipts stage, and the hub that knows when something new is there."""

    def __init__(self, receipts: Receipts, hub: Hub) -> None:
        self.page = receipts.page
        self.change = receipts.change
        self.acked = receipts.acked
        self.wait = hub.wait


class Doors:
    """API and gateway of one node, on one port."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._empty = Loaded.of(load(_EMPTY))
        wanted = node.settings
        origins = frozenset(filter(None, (o.strip() for o in wanted.allow_origins.split(","))))
        keys = Keys(node.pool)
        self.tokens, self._http = _tokens(node, keys)
        node.beats(self.tokens.poll)
        receipts = Receipts(node.pool, node.hint, node.failpoints)
        self.hub = Hub(receipts, time.monotonic, time.time)
        node.hears(self.hub.hint)
        self._presence = Presence(self.hub, receipts)
        self.bus = _bus(wanted.valkey_url, node.boot, self._presence)
        self.hub.watch(self.bus)
        node.hears(self.bus.news)
        node.gauges(self.bus.gauges)
        pushes = PushReceipts(node.pool, node.linker, receipts, _now, time.monotonic)
        self._api: App = Api(self._deps(keys, pushes, _Inboxes(receipts, self.hub), origins))
        rights = Rights(self.tokens.verify, self.tokens.redeem, self.tokens.ticket, Listening(Topics(node.pool)).may)
        surroundings = Surroundings(time.monotonic, time.time, random.random, os.urandom, node.boot)
        self.gateway = Gateway(receipts, rights, self.hub, surroundings, _bounds(wanted, origins))
        self._streams = streams.Streams(self.gateway)
        # The sandbox stands on this machine, where the guard lets nothing else go.
        self._vendors = HttpClient(networks(["127.0.0.1/32"])) if wanted.sandbox_smtp else self._http
        self._callbacks = _callbacks(node, self._vendors)
        self._links = LinkDoor(_link_deps(node, self._loaded))
        self.tokens.listen(self.hub.revoke)
        node.gauges(self.gateway.gauges)
        self._tasks: list[asyncio.Task[None]] = []

    def _loaded(self, tenant: int) -> Loaded:
        """The project in force for a tenant."""
        return self._node.catalogs.current.get(tenant, self._empty)

    def _application_servers(self, tenant: int) -> Sequence[ApplicationServer]:
        """A tenant's keys for browsers; none of an account that the sandbox can't stand in for."""
        found: list[Account] = []
        for declared in self._loaded(tenant).catalog.accounts_for(Channel.PUSH):
            with contextlib.suppress(SettingError):
                found.append(self._node.public(declared))
        return application_servers(found)

    def _deps(self, keys: Keys, pushes: PushReceipts, inboxes: _Inboxes, origins: frozenset[str]) -> ApiDeps:
        node, pool = self._node, self._node.pool
        return ApiDeps(
            accept=node.acceptor,
            reads=Reads(pool),
            operate=Operations(pool),
            users=Users(pool),
            consents=Consents(pool),
            devices=Devices(pool),
            topics=Topics(pool),
            suppressions=Suppressions(pool),
            vendors=node.reactivator,
            scores=Scores(pool),
            push_receipts=pushes,
            push_counts=PushCounts(pool),
            inbox=inboxes,
            bus=self.bus,
            keys=keys,
            tokens=self.tokens,
            loaded=self._loaded,
            clock=_now,
            monotonic=time.monotonic,
            entropy=os.urandom,
            metrics=node.metrics.text,
            ready=self._ready,
            breakers=node.breakers.states,
            doubted=node.deaths.states,
            application_servers=self._application_servers,
            origins=origins,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand each request to its door; sockets come to ``gateway.socket`` by themselves."""
        if scope["raw_path"] == streams.PATH and scope["method"] == "GET":
            await self._streams(scope, receive, send)
        elif scope["raw_path"] == SOCKET:
            await tell_to_upgrade(send)
        elif scope["path"].startswith(PREFIX):
            await self._callbacks(scope, receive, send)
        elif scope["path"].startswith(PREFIXES):
            await self._links(scope, receive, send)
        else:
            await self._api(scope, receive, send)

    async def _ready(self) -> str | None:
        if self.gateway.draining:
            return "the node is stopping"
        try:
            await self._node.pool.fetchval("SELECT 1")
        except EXPECTED as error:
            return f"PostgreSQL does not answer ({type(error).__name__})"
        return None

    def start(self) -> None:
        """Start what runs beside requests."""
        self._tasks = [asyncio.create_task(run()) for run in (self.hub.run, self.tokens.run, self._presence.run)]
        self.hub.bus(self.bus.up)
        self.bus.start()

    async def stop(self) -> None:
        """Write the acks that are left, then end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.tokens.stop()
        await self._http.aclose()
        await self._vendors.aclose()
        try:
            await self.hub.flush()
        except EXPECTED as error:
            log.warning("the last acks could not be written: %s", type(error).__name__)
        await self.bus.stop()

    async def look(self) -> None:
        """Learn which nodes live."""
        if self._node.settings.valkey_url:
            self.bus.nodes(await nodes.alive(self._node.pool, _ALIVE))


def _bus(url: str, boot: int, presence: Presence) -> Bus:
    if not url:
        return LocalBus(presence)
    if not is_url(url):  # without the URL: it may hold a password
        raise SettingError("ULAK_VALKEY_URL: write it like redis://host:6379/0, rediss://… or unix:///path")
    return ValkeyBus(url, boot, presence)


def _tokens(node: Node, keys: Keys) -> tuple[Tokens, HttpClient]:
    """Who believes users' tokens on this node, and the client that fetches identity providers' keys for it."""

    def issuers() -> dict[tuple[int, str], Issuer]:
        current = node.catalogs.current.items()
        return {(tenant, name): one for tenant, loaded in current for name, one in loaded.catalog.issuers.items()}

    http = HttpClient(allowed_networks(node.settings), body_cap=BODY_CAP, connections=AT_ONCE)
    stores = Stores(keys, Secrets(node.pool), Revocations(node.pool), issuers, http)
    return Tokens(stores, Times(time.time, time.monotonic, os.urandom)), http


def _link_deps(node: Node, loaded: Callable[[int], Loaded]) -> LinkDeps:
    return LinkDeps(node.linker, Consents(node.pool), Tracking(node.pool), loaded, _now, time.monotonic)


def _callbacks(node: Node, http: HttpClient) -> CallbackDoor:
    """The vendors' door; it wakes the stage of this node, others find the work by themselves."""
    wanted = node.settings
    smtp, vendors, push = wanted.sandbox_smtp, wanted.sandbox_vendors, wanted.sandbox_push

    def resolve(account: Account) -> Account:
        return sandboxed(account, smtp, vendors, push) if smtp else account_with_secrets(account)

    accounts = Accounts(lambda: node.catalogs.current, resolve, (SettingError,))
    deps = CallbackDeps(
        store=Callbacks(node.pool),
        accounts=accounts,
        fetch=http.send,
        clock=_now,
        monotonic=time.monotonic,
        entropy=os.urandom,
        stored=node.applier.wake,
    )
    door = CallbackDoor(deps)
    node.gauges(lambda: {"callbacks_kept": door.kept, "callbacks_rejected": door.rejected})
    return door


class _Server(uvicorn.Server):
    """uvicorn, which lets the gateway say goodbye before it closes sockets."""

    def __init__(self, config: uvicorn.Config, doors: Doors, ready: Callable[[], None], drain: float) -> None:
        super().__init__(config)
        self._doors = doors
        self._tell = ready
        self._drain = drain
        self.broken = False

    def end(self) -> None:
        """End in good order, because something is broken."""
        self.broken = self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as the wish to end; uvicorn would raise them again and skip our own ending."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._doors.gateway.drain(self._drain)
        await super().shutdown(sockets)


def run(wanted: Settings, listener: socket.socket, owned: RunningPostgres | None, ready: Callable[[], None]) -> None:
    """Run a node until SIGTERM or SIGINT; call it in the main thread."""
    # Long-lived batches of small objects: collecting the young generation each 700 of them costs a fifth of the CPU.
    gc.set_threshold(20_000, 20, 50)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(wanted, listener, owned, ready))


async def _run(
    wanted: Settings, listener: socket.socket, owned: RunningPostgres | None, ready: Callable[[], None]
) -> None:
    pool = await Pool.open(wanted.database_url, size=wanted.pool_size, statement_cache=wanted.statement_cache)
    try:
        await migrate(pool)
        if wanted.project:
            await apply(pool, 0, load(read_folder(wanted.project)))
        node = await Node.open(wanted, pool, owner=owned is not None and wanted.processes == 1)
        doors = Doors(node)
        node.start()
        doors.start()
        upkeep = asyncio.create_task(_upkeep(doors, owned))
        server = _Server(_config(doors, wanted), doors, ready, wanted.drain_seconds)
        loops = asyncio.all_tasks() - {asyncio.current_task()}
        watch = asyncio.create_task(watched(loops, server.end))
        try:
            await server.serve(sockets=[listener])
        finally:
            for task in (watch, upkeep):
                task.cancel()
            await asyncio.gather(watch, upkeep, return_exceptions=True)
            await doors.stop()
            await node.stop()
    finally:
        pool.terminate()
    if server.broken:
        raise SystemExit(BROKEN)


async def watched(loops: Iterable[asyncio.Task[Any]], end: Callable[[], None]) -> None:
    """End the node when a loop of its stages or doors fails: without it the node lives, and does not do its work."""
    done, _ = await asyncio.wait(set(loops), return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        error = None if task.cancelled() else task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if error is not None:
            # The places in the code, never the words of the error: these may quote what somebody sent.
            where = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            log.critical("a loop failed, so the node ends: %s at %s", type(error).__name__, " < ".join(reversed(where)))
            end()


async def _upkeep(doors: Doors, owned: RunningPostgres | None) -> None:
    """Look after the database that is ours, and know which nodes live."""
    while True:
        await asyncio.sleep(_STEP)
        try:
            if owned is not None:
                owned.step()
            await doors.look()
        except EmbeddedError as error:
            log.error("PostgreSQL does not start: %s", error)  # noqa: TRY400  # the message says what to do
        except EXPECTED as error:
            log.warning("which nodes live can't be read: %s", type(error).__name__)


def _bounds(wanted: Settings, origins: frozenset[str]) -> GatewaySettings:
    try:
        proxies = Networks(wanted.trusted_proxies)
    except ValueError as error:
        raise SettingError(f"ULAK_TRUSTED_PROXIES: {error}") from None
    return GatewaySettings(
        origins=origins,
        room=Room(
            sockets=wanted.sockets,
            per_second=wanted.sockets_per_second,
            address_sockets=wanted.sockets_per_address,
            address_per_second=wanted.sockets_per_address_per_second,
        ),
        per_user=wanted.sockets_per_user,
        proxies=proxies,
        serves="gateway" in wanted.role_set,
    )


def _config(doors: Doors, wanted: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        doors,
        loop="none",
        http=HttpGuard,
        ws=cast(Any, doors.gateway.socket),  # called like the class that uvicorn expects
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(wanted.drain_seconds) or 1,
    )


def _now() -> datetime:
    return datetime.now(UTC)


__all__ = ["Doors", "run"]
