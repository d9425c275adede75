"""What do answers look like from outside?

One type for each answer. They make the JSON and, through ``openapi``, the documentation; ids get their
prefix here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class ProblemOf(Struct):
    """Why one recipient of an accepted request is left out."""

    path: str
    code: str
    detail: str


class AcceptedAnswer(Struct):
    """The request is durable. ``accepted`` counts recipients of the list; an audience is counted when planned."""

    id: str
    accepted: int
    problems: Sequence[ProblemOf]


class BatchAnswer(Struct):
    """One answer for each request, in order: ``status`` 202 with its id, or a problem."""

    items: Sequence[dict[str, Any]]


class NotificationAnswer(Struct, rename={"class_": "class"}):
    """One accepted request and where its deliveries stand. Class and category are those of today's type."""

    id: str
    type: str
    class_: str | None
    category: str | None
    accepted_at: datetime
    expires_at: datetime
    send_at: datetime | None
    cancelled_at: datetime | None
    actor: str | None
    recipients: int
    problems: Sequence[ProblemOf]
    planned: bool
    deliveries: dict[str, dict[str, int]]


class NotificationPage(Struct):
    """A page of notifications, newest first."""

    items: Sequence[NotificationAnswer]
    next: str | None


class DeliveryAnswer(Struct):
    """One notification for one user on one channel, on push for one ``device`` of the user."""

    id: str
    notification: str
    type: str
    user: str
    channel: str
    state: str
    reason: str | None
    attempts: int
    planned_at: datetime
    due_at: datetime | None
    expires_at: datetime
    settled_at: datetime | None
    delivered_at: datetime | None
    seen_at: datetime | None
    read_at: datetime | None
    device: str | None = None


class DeliveryPage(Struct):
    """A page of deliveries, newest first."""

    items: Sequence[DeliveryAnswer]
    next: str | None


class OutcomeAnswer(Struct):
    """What a call meant; ``next_account`` goes on where this one could not send."""

    kind: str
    reason: str
    blame: str | None
    detail: str | None
    vendor_id: str | None
    retry_at: datetime | None
    next_account: str | None
    at: datetime


class BreakerAnswer(Struct):
    """Whether the node that answers sends by an account: ``closed``, ``probing`` or ``open``.

    ``rests`` is for how many seconds nothing is sent.
    """

    state: str
    rests: float


class ScoreAnswer(Struct):
    """What came of an account's last 10,000 messages or 7 days; rates and levels of ``bounces`` and ``complaints``.

    A level is ``ok``, ``warn`` or ``pause``, and always ``ok`` below 200 messages.
    """

    since: datetime
    sent: int
    accepted: int
    deferred: int
    bounced: int
    complained: int
    rates: dict[str, float]
    levels: dict[str, str]


class PauseAnswer(Struct):
    """Why an account sends no marketing."""

    reason: str
    evidence: str
    since: datetime


class ProviderAnswer(Struct):
    """One account. ``breaker`` is null where the node that answers does not send by it.

    ``tokens_dying`` says that so many devices are refused on this node that the account's topic, key or project must be
    wrong; none is put into quarantine meanwhile.
    """

    account: str
    channel: str
    provider: str
    priority: int
    weight: float
    breaker: BreakerAnswer | None
    score: ScoreAnswer | None
    paused: PauseAnswer | None
    tokens_dying: bool = False


class ProviderList(Struct):
    """The accounts of the project in force."""

    items: Sequence[ProviderAnswer]


class AttemptAnswer(Struct):
    """One call of a provider; ``outcome`` is null while its answer is awaited."""

    n: int
    account: str
    started_at: datetime
    reconcile_at: datetime
    outcome: OutcomeAnswer | None


class ReceiptAnswer(Struct):
    """What a provider or a client said later; ``n`` is the attempt it speaks of, where known."""

    kind: str
    source: str
    at: datetime
    n: int | None
    detail: str | None


class DeliveryTimeline(Struct):
    """All that happened to one delivery, and why."""

    id: str
    notification: str
    type: str
    user: str
    channel: str
    state: str
    reason: str | None
    decision: dict[str, Any]
    attempts: Sequence[AttemptAnswer]
    receipts: Sequence[ReceiptAnswer]
    planned_at: datetime
    due_at: datetime | None
    expires_at: datetime
    settled_at: datetime | None
    delivered_at: datetime | None
    seen_at: datetime | None
    read_at: datetime | None
    device: str | None = None


class Timeline(Struct):
    """Every decision, attempt and receipt. ``next`` goes on where there are more deliveries."""

    notification: NotificationAnswer
    deliveries: Sequence[DeliveryTimeline]
    next: str | None


class CancelAnswer(Struct):
    """How many deliveries were stopped, and for how many it came too late."""

    cancelled: int
    too_late: int


class UserAnswer(Struct):
    """A stored user."""

    id: str
    email: str | None
    phone: str | None
    locale: str | None
    timezone: str | None
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class UserPage(Struct):
    """A page of users by id."""

    items: Sequence[UserAnswer]
    next: str | None


class PreferenceAnswer(Struct):
    """A user's choice."""

    category: str
    channel: str
    allowed: bool
    source: str
    changed_at: datetime


class PreferencesAnswer(Struct):
    """All choices of a user."""

    preferences: Sequence[PreferenceAnswer]


class ConsentAnswer(Struct):
    """One line of the record of consent.

    ``allowed`` null: the choice was taken back, and what is wider decides again. ``source`` is ``api``, ``me``,
    ``link`` or ``vendor``; ``evidence`` the prefix of the API key, the id of the user's token, the id of the delivery
    that carried the link, or account and event of the vendor.
    """

    category: str
    channel: str
    allowed: bool | None
    source: str
    evidence: str | None
    agent: str | None
    at: datetime


class ConsentPage(Struct):
    """A page of a user's record of consent, newest first."""

    items: Sequence[ConsentAnswer]
    next: str | None


class TokenAnswer(Struct):
    """A user's token; ``token_id`` is what to revoke it by."""

    token: str
    expires_at: datetime
    token_id: str


class RevokedAnswer(Struct):
    """What was taken back: one token, or (``token_id`` null) all that were made until ``revoked_at``."""

    user: str
    token_id: str | None
    revoked_at: datetime


class SubscriberAnswer(Struct):
    """A member of a topic."""

    user: str
    since: datetime


class SubscriberPage(Struct):
    """A page of a topic's members by user id."""

    items: Sequence[SubscriberAnswer]
    next: str | None


class ConnectionAnswer(Struct):
    """One open connection.

    ``transport`` is ``socket`` or ``sse``; ``active`` says that somebody looks at the device, ``last_seen`` when it
    last answered a ping; ``meta`` is what the client said of itself.
    """

    id: str
    user: str
    transport: str
    connected_at: datetime
    last_seen: datetime
    active: bool
    device: str | None
    user_agent: str | None
    address: str | None
    topics: Sequence[str]
    meta: dict[str, Any]
    expires_at: datetime | None


class ConnectionList(Struct):
    """Open connections; ``total`` counts those that are not shown, too. Not ``complete``: a node did not answer."""

    items: Sequence[ConnectionAnswer]
    total: int
    complete: bool


class PresenceAnswer(Struct):
    """Whether a user is connected now.

    Not ``complete``: a node did not answer, so he may be connected there.
    """

    present: bool
    active: bool
    connections: int
    devices: Sequence[str]
    last_seen: datetime | None
    complete: bool


class ClosedAnswer(Struct):
    """How many connections were closed. Not ``complete``: a node did not answer, so some may be open there."""

    closed: int
    complete: bool


class PublishAnswer(Struct):
    """The message is on its way. Not ``complete``: other nodes can't be reached, so only this one's clients get it."""

    at: datetime
    complete: bool


class DisabledAnswer(Struct):
    """Why a device is in quarantine: a reason, the account that was told, and the service's words (to API keys)."""

    reason: str
    since: datetime
    account: str | None
    evidence: str | None


class DeviceAnswer(Struct):
    """A device without its address; ``address_hash`` is the beginning of the address' SHA-256.

    ``device`` is the app's own id of the installation, ``id`` what timelines call it. ``state`` is ``active``,
    ``stale`` (not registered again for 60 days: told only what is critical) or ``disabled``.
    """

    device: str
    id: str
    kind: str
    app: str | None
    platform: str
    environment: str | None
    app_version: str | None
    model: str | None
    state: str
    disabled: DisabledAnswer | None
    address_hash: str
    created_at: datetime
    registered_at: datetime
    seen_at: datetime
    expires_at: datetime | None


class DeviceList(Struct):
    """A user's devices, those heard of last first."""

    items: Sequence[DeviceAnswer]


class ApplicationServerAnswer(Struct):
    """A public key that browsers can subscribe with, and the apps that it is for (none named: all)."""

    account: str
    key: str
    apps: Sequence[str]


class OwnDevices(Struct):
    """The own devices, and the keys for browsers: subscribe with the first that is for your app."""

    items: Sequence[DeviceAnswer]
    application_servers: Sequence[ApplicationServerAnswer]


class SuppressionAnswer(Struct):
    """An address that must not be written to; ``source`` is the account whose vendor caused it, null a wish."""

    channel: str
    address: str
    scope: str
    reason: str
    evidence: str | None
    source: str | None
    created_at: datetime
    expires_at: datetime | None


class LineFault(Struct):
    """A line of a file that was left out."""

    line: int
    column: str
    detail: str


class ImportAnswer(Struct):
    """How many addresses are forbidden now by this file, and how many lines were not; the first 100 of these."""

    added: int
    rejected: int
    faults: Sequence[LineFault]


class AtVendor(Struct):
    """What the vendor of an account made of the wish to write to an address again; ``reason`` says why not."""

    account: str
    result: Literal["removed", "not_there", "refused", "unreachable"]
    reason: str | None


class RemovedAnswer(Struct):
    """How many of our own entries went, and what each vendor said."""

    removed: int
    vendors: Sequence[AtVendor]


class SuppressionPage(Struct):
    """A page of suppressions by channel, address and scope."""

    items: Sequence[SuppressionAnswer]
    next: str | None


class PushReceiptAnswer(Struct):
    """It is written. ``refused`` are positions in the list whose ``receipt`` is none of ours; else it is left out."""

    refused: Sequence[int] | UnsetType = UNSET


class PushSums(Struct):
    """Counts of pushes; ``reasons`` are those of the rejected ones.

    What services answered: ``accepted`` (taken: not yet delivered), ``rejected``, ``unknown`` (no answer came).
    What apps said: ``shown``, ``opened``, ``dismissed``.
    """

    accepted: int
    rejected: int
    unknown: int
    shown: int
    opened: int
    dismissed: int
    reasons: dict[str, int]


class PushGroup(Struct):
    """Sums of one group, with what its pushes have in common, as asked for by ``by``; days and hours are in UTC."""

    sums: PushSums
    account: str | UnsetType = UNSET
    app: str | UnsetType = UNSET
    platform: str | UnsetType = UNSET
    app_version: str | UnsetType = UNSET
    day: str | UnsetType = UNSET
    hour: str | UnsetType = UNSET


class PushStats(Struct):
    """Sums of the hours that began from ``since`` on and before ``until``: of all, and of each group."""

    since: datetime
    until: datetime
    total: PushSums
    groups: Sequence[PushGroup]


class StepAnswer(Struct):
    """One step of a route; ``after`` in seconds."""

    channel: str
    after: float
    unless: str | None


class TypeAnswer(Struct, rename={"class_": "class"}):
    """A declared notification type."""

    name: str
    category: str
    class_: str
    template: str
    expires: float
    route: Sequence[StepAnswer]


class TypePage(Struct):
    """All types of the project in force, under its version."""

    items: Sequence[TypeAnswer]
    version: int
    next: str | None = None


class TemplateAnswer(Struct):
    """A template file of the project in force; ``locale`` null is the one without."""

    name: str
    channel: str
    locale: str | None


class TemplatePage(Struct):
    """All templates of the project in force, under its version."""

    items: Sequence[TemplateAnswer]
    version: int
    next: str | None = None


class PreviewAnswer(Struct):
    """What a user would see; ``content`` depends on the channel, ``missing`` are variables, ``warnings`` sentences."""

    channel: str
    locale: str | None
    file: str
    content: dict[str, Any]
    missing: Sequence[str]
    warnings: Sequence[str]


class DeadAnswer(Struct):
    """A parked delivery."""

    id: str
    notification: str
    type: str
    user: str
    channel: str
    reason: str
    n: int
    at: datetime


class DeadPage(Struct):
    """A page of parked deliveries, newest first."""

    items: Sequence[DeadAnswer]
    next: str | None


class RedriveAnswer(Struct):
    """How many deliveries are on their way again."""

    redriven: int


class ItemAnswer(Struct):
    """One item; a removed one has only ``id``, ``revision`` and ``removed``."""

    id: str
    revision: int
    removed: bool | UnsetType = UNSET
    type: str | UnsetType = UNSET
    notification: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    body: str | UnsetType = UNSET
    url: str | UnsetType | None = UNSET
    icon: str | UnsetType | None = UNSET
    created_at: datetime | UnsetType = UNSET
    seen_at: datetime | UnsetType | None = UNSET
    read_at: datetime | UnsetType | None = UNSET
    archived_at: datetime | UnsetType | None = UNSET


class InboxAnswer(Struct):
    """What changed in the inbox since a revision, in order of revision.

    ``revision`` is where to go on, ``more`` says that there is more right now; ``reset`` that it could not
    be resumed: forget what you had, this is the beginning of all.
    """

    items: Sequence[ItemAnswer]
    revision: int
    epoch: str
    unread: int
    unseen: int
    more: bool
    reset: bool


class Health(Struct):
    """The node's own judgement."""

    status: str
    detail: str | None = None
