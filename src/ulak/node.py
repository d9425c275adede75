"""How is a node put together? The only place where things are wired.

A node is one process with any of the roles ``api``, ``gateway`` and ``worker``. It keeps nothing: what
it knows it reads from PostgreSQL, what it holds is leased.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ulak.core import failpoint
from ulak.core.breaker import State as BreakerState
from ulak.core.inbox import News
from ulak.core.loaded import Loaded
from ulak.core.model import Account, Channel
from ulak.core.score import Alarm
from ulak.flow.accept import Acceptor
from ulak.flow.attempt import Breakers, Deaths, Finisher, Keeper, Route, Scoring, Sender, Worker
from ulak.flow.attempt import Settings as AttemptSettings
from ulak.flow.attempt.attachments import BODY_CAP
from ulak.flow.attempt.worker import Solo, Tools
from ulak.flow.plan import Planner
from ulak.flow.plan.planner import Listeners
from ulak.flow.reactivate import Reactivator, Surroundings
from ulak.flow.receipts import Applier
from ulak.io import links
from ulak.io.credentials import Clocks
from ulak.io.failpoint import KillAt
from ulak.io.links import Linker
from ulak.io.metrics import Metrics
from ulak.io.outbound import tls
from ulak.io.outbound.discard import DiscardSender
from ulak.io.outbound.egress import Network, networks
from ulak.io.outbound.http import HttpClient
from ulak.io.outbound.http2 import Http2Client, Options
from ulak.io.outbound.push import PushSender
from ulak.io.outbound.smtp import SmtpSender
from ulak.io.outbound.vendor import VendorSender
from ulak.io.postgres import attempting, callbacks, nodes
from ulak.io.postgres.accepting import forget_keys
from ulak.io.postgres.catalogs import Catalogs
from ulak.io.postgres.devices import Devices
from ulak.io.postgres.errors import EXPECTED
from ulak.io.postgres.identity import Identities
from ulak.io.postgres.inbox_sender import InboxSender
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.push_counts import PushCounts
from ulak.io.postgres.scores import Scores
from ulak.io.postgres.secrets import Secrets
from ulak.providers.registry import PROVIDERS, REACTIVATES, check
from ulak.sandbox.credentials import CREDENTIALS, PUSH, push_stand_in, read_places, stand_in
from ulak.settings import SettingError, Settings

log = logging.getLogger(__name__)

Hears = Callable[[Sequence[News]], None]
Beats = Callable[[Mapping[str, int], float], Awaitable[None]]
"""Takes the numbers of ``changes``, and the moment (monotonic seconds) before they were read."""

_BEAT = 0.5
_ALIVE = 5.0
_FORGET = 600.0
_HTTP2 = frozenset({"apns", "fcm"})
"""Providers whose services take many requests on few connections."""
_INBOX = Account("inbox", "inbox", Channel.IN_APP, concurrency=1, timeout=5.0, reconcile_after=5.0)
"""What later in_app steps are sent by; it needs no declaration."""


def account_with_secrets(account: Account) -> Account:
    """An account whose ``…_env`` settings are replaced by what those variables hold."""
    settings: dict[str, object] = {}
    for key, value in account.settings.items():
        if not key.endswith("_env"):
            settings[key] = value
            continue
        secret = os.environ.get(str(value))
        if secret is None:
            raise SettingError(f"accounts.{account.name}.{key}: the environment variable {value} is not set")
        if not secret.strip():
            raise SettingError(f"accounts.{account.name}.{key}: the environment variable {value} is empty")
        settings[key.removesuffix("_env")] = secret
    return replace(account, settings=settings)


def check_resolved(declared: Account, account: Account) -> None:
    """Raise ``SettingError`` when a provider can't use an account; of a wrong secret it names key and variable."""
    try:
        check(account.provider, account.settings)
    except ValueError as error:
        key, _, said = str(error).partition(": ")
        variable = declared.settings.get(f"{key}_env")
        text = f"{key}: {said}" if variable is None else f"{key}_env: {said} (it was read from {variable})"
        raise SettingError(f"accounts.{account.name}.{text}") from None


def sandboxed(account: Account, smtp: str, vendors: str, push: str = "") -> Account:
    """The same account, speaking to the sandbox with no secret of its own.

    ``smtp`` is its ``host:port``, ``vendors`` the URL of its vendor APIs, ``push`` tells where its push services are.
    Raises ``SettingError`` where the sandbox's address is not known: a development stack never speaks to a real vendor.
    """
    if account.provider == "smtp":
        host, _, port = smtp.rpartition(":")
        return replace(account, settings={"host": host, "port": int(port), "tls": "none"})
    if account.provider in PUSH:
        return _push_sandboxed(account, push)
    if account.provider not in CREDENTIALS:
        return account
    if not vendors:
        raise SettingError(f"accounts.{account.name}: ULAK_SANDBOX_VENDORS does not say where the sandbox answers")
    open_settings = {k: v for k, v in account.settings.items() if not (k.endswith("_env") or k.startswith("events_"))}
    return replace(account, settings={**open_settings, **stand_in(account.provider, vendors)})


def _push_sandboxed(account: Account, push: str) -> Account:
    """The same for an account of a push service: its apps and environment stay, its keys and addresses go."""
    try:
        own = push_stand_in(account.provider, read_places(push))
    except (ValueError, KeyError):
        raise SettingError(
            f"accounts.{account.name}: ULAK_SANDBOX_PUSH does not say where the sandbox answers"
        ) from None
    kept = {key: value for key, value in account.settings.items() if not key.endswith("_env") and key != "hosts"}
    return replace(account, settings={**kept, **own})


def allowed_networks(settings: Settings, *more: str) -> Sequence[Network]:
    """Networks that may be reached although the guard forbids them; raises ``SettingError``."""
    named = [text.strip() for text in settings.allow_networks.split(",") if text.strip()]
    try:
        return networks([*named, *more])
    except ValueError as error:
        raise SettingError(f"ULAK_ALLOW_NETWORKS: {error}") from None


def push_sender(account: Account, allowed: Sequence[Network]) -> PushSender:
    """With the credentials that it needs, over HTTP/2 to the services that speak nothing else."""
    provider: Any = PROVIDERS[account.provider]
    many = account.provider in _HTTP2
    try:
        trust = tls.context(str(account.settings.get("ca_file") or ""), ("h2",) if many else ())
    except OSError as error:
        raise SettingError(f"accounts.{account.name}.ca_file: {type(error).__name__}") from None
    transport = (
        Http2Client(allowed, Options(proves=getattr(provider, "proves", None)), tls=trust)
        if many
        else HttpClient(allowed, schemes={"https"}, connections=account.concurrency, tls=trust)
    )
    return PushSender(provider, account, transport, Clocks(_now, time.monotonic))


def _linker(public_url: str, pool: Pool) -> Linker:
    try:
        return Linker(Secrets(pool), links.check(public_url), os.urandom, time.monotonic)
    except ValueError as error:
        raise SettingError(f"ULAK_PUBLIC_URL: {error}") from None


def _now() -> datetime:
    return datetime.now(UTC)


class Node:
    """The stages and doors of one process, from ``start`` to ``stop``."""

    def __init__(self, settings: Settings, pool: Pool, boot: int) -> None:
        self.settings = settings
        self.pool = pool
        self.boot = boot
        self.new_id = Identities()
        self.catalogs = Catalogs(pool, Loaded.of)
        points = failpoint.parse(settings.failpoints)
        self.failpoints = KillAt(points) if points else failpoint.NoFailpoints()
        self.metrics = Metrics(self._gauges)
        self._workers: dict[str, Worker] = {}
        self._retired: list[asyncio.Task[None]] = []
        self._seen: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._solo = Solo()
        self._files = HttpClient(allowed_networks(settings), body_cap=BODY_CAP, connections=32)
        self.linker = _linker(settings.public_url, pool)
        self._attempt = AttemptSettings(lease=settings.lease_seconds)
        self.deaths = Deaths(time.monotonic)
        self.finisher = Finisher(pool, self._attempt, self.failpoints, self.deaths)
        self.breakers = Breakers(time.monotonic, self._accounts)
        self.metrics.labelled("breaker", "0 closed, 1 probing, 2 open", "bulkhead", self._breaker_states)
        self.scoring = Scoring(Scores(pool), _now)
        self._score_gauges()
        self.keeper = Keeper(pool, self._attempt, lambda: list(self._workers.values()), self.breakers)
        self.planner = Planner(
            pool,
            boot,
            self.catalogs,
            self.new_id,
            Listeners(self.hint, self.keeper.wake, self.keeper.full, self.failpoints, self.breakers.usable),
        )
        self.applier = Applier(pool, boot, self.failpoints)
        works = "worker" in settings.role_set
        self.acceptor = Acceptor(
            pool,
            boot,
            self.new_id,
            handoff=self.planner if works else None,
            failpoints=self.failpoints,
        )
        self.reactivator = Reactivator(REACTIVATES, Surroundings(self._accounts, self._usable, self._vendor, _now))
        self._hint_to: list[Hears] = []
        self._counts: list[Callable[[], dict[str, float]]] = []
        self._beat_to: list[Beats] = []

    # ------------------------------------------------------------------------------------- life

    @classmethod
    async def open(cls, settings: Settings, pool: Pool, *, owner: bool = False) -> Node:
        """Register this start, let go of what a former self held, and load what is in force.

        ``owner`` says that this process has just started the database, so that no other node can live.
        """
        name = settings.node or f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        async with pool.transaction() as connection:
            boot = await nodes.boot(connection, name, sorted(settings.role_set))
            if owner:
                await attempting.expire_all(connection)
            else:
                await attempting.expire_former(connection, name, boot)
            await callbacks.release_former(connection, boot, everybody=owner)
        node = cls(settings, pool, boot)
        node._seen = await nodes.beat(pool, boot)
        await node.catalogs.refresh()
        return node

    def start(self) -> None:
        """Start the stages of this node's roles."""
        self.acceptor.start()
        self._tasks = [asyncio.create_task(self._beat_forever()), asyncio.create_task(self._forget_forever())]
        if "worker" in self.settings.role_set:
            self.planner.start()
            self.finisher.start()
            self.applier.start()
            self._match_workers()
            self.keeper.start()
            self.scoring.start()

    async def stop(self) -> None:
        """End in the order of the flow, so that nothing that was taken is dropped."""
        await self.acceptor.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if "worker" in self.settings.role_set:
            await self.planner.stop()
            await self.applier.stop()
            await self.keeper.stop()
            await asyncio.gather(*(w.stop(self.settings.drain_seconds) for w in self._workers.values()))
            await self.finisher.stop()
            await self.scoring.stop()
        await self._files.aclose()
        try:
            await nodes.stop(self.pool, self.boot)
        except EXPECTED as error:
            log.warning("the stop could not be noted: %s", type(error).__name__)

    def hears(self, listener: Hears) -> None:
        """Tell this listener of every inbox that a commit of this process changes."""
        self._hint_to.append(listener)

    def hint(self, news: Sequence[News]) -> None:
        """Say that inboxes changed."""
        for listener in self._hint_to:
            listener(news)

    def gauges(self, read: Callable[[], dict[str, float]]) -> None:
        """Tell these among the node's metrics."""
        self._counts.append(read)

    def beats(self, listener: Beats) -> None:
        """Tell this listener at each heartbeat what others may have changed."""
        self._beat_to.append(listener)

    # ------------------------------------------------------------------------------------- upkeep

    async def _beat_forever(self) -> None:
        """Say that this node lives, and take over what others changed."""
        while True:
            await asyncio.sleep(_BEAT)
            try:
                asked_at = time.monotonic()
                seen = await nodes.beat(self.pool, self.boot)
                for listener in self._beat_to:
                    await listener(seen, asked_at)
                if seen.get("catalogs") != self._seen.get("catalogs"):
                    await self.catalogs.refresh()
                    self._match_workers()
                self._seen = seen
            except EXPECTED as error:
                log.warning("the heartbeat failed: %s", type(error).__name__)

    async def _forget_forever(self) -> None:
        """Delete what is past its time (idempotency records, applied events), a few thousand at a time."""
        while True:
            try:
                await forget_keys(self.pool)
                await callbacks.forget(self.pool)
                await Scores(self.pool).forget()
                await Devices(self.pool).forget()
                await PushCounts(self.pool).forget()
            except EXPECTED as error:
                log.warning("forgetting old records failed: %s", type(error).__name__)
            await asyncio.sleep(_FORGET)

    def _match_workers(self) -> None:
        """Have one worker for each account in force; an account that changed gets a new one."""
        if "worker" not in self.settings.role_set:
            return
        wanted = {_INBOX.bulkhead: _INBOX}
        wanted |= {a.bulkhead: a for loaded in self.catalogs.current.values() for a in loaded.catalog.accounts.values()}
        for bulkhead, worker in list(self._workers.items()):
            if wanted.get(bulkhead) != worker.declared:
                del self._workers[bulkhead]
                self._retired.append(asyncio.create_task(worker.stop(self.settings.drain_seconds)))
        for bulkhead, account in wanted.items():
            if bulkhead in self._workers:
                continue
            try:
                route = self._route(account)
            except (SettingError, ValueError) as error:
                log.error("account %s is not in use: %s", account.name, error)  # noqa: TRY400  # the message says it all
                continue
            worker = Worker(route, self._tools(), declared=account)
            self._workers[bulkhead] = worker
            worker.start()
        # The inbox is our own database: there is no other way, and nobody to spare.
        self.breakers.match(w.declared for w in self._workers.values() if w.declared is not _INBOX)
        self.deaths.match(w.declared for w in self._workers.values())

    def _accounts(self, tenant: int, channel: Channel) -> Sequence[Account]:
        """The accounts that a tenant has for a channel."""
        loaded = self.catalogs.current.get(tenant)
        return () if loaded is None else loaded.catalog.accounts_for(channel)

    def _score_gauges(self) -> None:
        for alarm in Alarm:
            read = partial(self.scoring.rates, alarm)
            self.metrics.labelled(f"account_{alarm}", f"share of {alarm} of what it sent", "account", read)
        self.metrics.labelled("account_paused", "1 while its marketing is paused", "account", self.scoring.pauses)
        dying = "1 while so many devices are refused that the account is doubted"
        self.metrics.labelled("account_tokens_dying", dying, "account", self.deaths.states)

    def _breaker_states(self) -> dict[str, float]:
        return {name: list(BreakerState).index(state) for name, (state, _) in self.breakers.states().items()}

    def _tools(self) -> Tools:
        return Tools(
            pool=self.pool,
            boot=self.boot,
            catalogs=self.catalogs,
            finisher=self.finisher,
            settings=self._attempt,
            jitter=random.random,
            failpoints=self.failpoints,
            called=self.metrics.called,
            solo=self._solo,
            files=self._files,
            permits=self.breakers,
            lineup=self.breakers,
            sent=self.scoring.sent,
            linker=self.linker,
            judged=self.deaths.judged,
            entropy=os.urandom,
        )

    def _resolved(self, declared: Account) -> Account:
        smtp, vendors, push = self.settings.sandbox_smtp, self.settings.sandbox_vendors, self.settings.sandbox_push
        return sandboxed(declared, smtp, vendors, push) if smtp else account_with_secrets(declared)

    def public(self, declared: Account) -> Account:
        """The account as far as it is no secret: a node without workers may not have them; raises ``SettingError``."""
        return self._resolved(declared) if self.settings.sandbox_smtp else declared

    def _usable(self, declared: Account) -> Account | None:
        """The account with its secrets; None where this node does not have them."""
        try:
            account = self._resolved(declared)
            check_resolved(declared, account)
        except (SettingError, ValueError) as error:
            log.warning("account %s can't ask its vendor: %s", declared.name, error)
            return None
        return account

    def _route(self, declared: Account) -> Route:
        account = self._resolved(declared)
        provider = PROVIDERS.get(account.provider)
        if provider is None:
            raise SettingError(f"no provider is called {account.provider}; there are: {', '.join(PROVIDERS)}")
        check_resolved(declared, account)
        if account.timeout + self._attempt.margin >= self._attempt.lease:
            raise SettingError(
                f"timeout {account.timeout:g} s leaves no margin in a lease of {self._attempt.lease:g} s: "
                "shorten it, or raise ULAK_LEASE_SECONDS"
            )
        return Route(account, provider, self._sender(account))

    def _sender(self, account: Account) -> Sender:
        if account.provider == "noop":
            return DiscardSender()
        if account.provider == "inbox":
            return InboxSender(self.pool, self.hint)
        if account.provider == "smtp":
            return SmtpSender(account)
        if account.channel is Channel.PUSH:
            return push_sender(account, self._reachable())
        return self._vendor(account)

    def _vendor(self, account: Account) -> VendorSender:
        return VendorSender(account, self._reachable())

    def _reachable(self) -> Sequence[Network]:
        """Networks that vendors may be reached in beside public ones: in a development stack, the sandbox's."""
        own = ("127.0.0.1/32",) if self.settings.sandbox_smtp else ()
        return allowed_networks(self.settings, *own)

    def _gauges(self) -> dict[str, float]:
        return {
            "outcomes_written": self.finisher.written,
            "outcomes_fenced": self.finisher.fenced,
            "rows_diverted": self.keeper.diverted,
            "calls_unknown_after_crash": self.keeper.unknown,
            "plan_work_handed": self.planner.handed,
            "callback_events_applied": self.applier.applied,
            "callback_events_repeated": self.applier.repeated,
            "callbacks_put_aside": self.applier.aside,
            **{name: value for read in self._counts for name, value in read().items()},
        }
