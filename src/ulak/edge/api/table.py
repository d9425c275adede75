"""Which calls does the HTTP API have?

This table is the API: the router, the checks at the door, the OpenAPI document and the reference page are
all made from it. A new call is one row here and one function in the file of its group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ulak.core import registration, request_body
from ulak.core.apikey import Scope
from ulak.edge.api import (
    catalog,
    connections,
    dead,
    deliveries,
    devices,
    ephemeral,
    me,
    meta,
    notifications,
    paging,
    providers,
    pushes,
    suppressions,
    topics,
    users,
    wire,
)
from ulak.edge.api.router import Route, Who

_KEY_HEADER = ("Idempotency-Key", "1 to 255 visible ASCII characters; kept for 7 days: same body, same answer")


def _notifications() -> Sequence[Route]:
    tag, one = "notifications", "/v1/notifications/{notification}"
    return (
        Route(
            "POST",
            "/v1/notifications",
            notifications.send,
            tag,
            "Send one notification",
            {202: wire.AcceptedAnswer},
            Scope.SEND,
            described=request_body.NotificationBody,
            header=_KEY_HEADER,
        ),
        Route(
            "POST",
            "/v1/notifications/batch",
            notifications.send_batch,
            tag,
            "Send up to 1,000 notifications",
            {200: wire.BatchAnswer},
            Scope.SEND,
            described=request_body.BatchBody,
        ),
        Route(
            "GET",
            "/v1/notifications",
            notifications.listed,
            tag,
            "List notifications",
            {200: wire.NotificationPage},
            Scope.READ,
            query=notifications.NotificationQuery,
        ),
        Route("GET", one, notifications.get, tag, "Look at a notification", {200: wire.NotificationAnswer}, Scope.READ),
        Route(
            "GET",
            f"{one}/timeline",
            notifications.timeline,
            tag,
            "Explain a notification",
            {200: wire.Timeline},
            Scope.READ,
            query=notifications.TimelineQuery,
        ),
        Route(
            "POST",
            f"{one}/cancel",
            notifications.cancel,
            tag,
            "Cancel a notification",
            {200: wire.CancelAnswer},
            Scope.SEND,
        ),
    )


def _deliveries() -> Sequence[Route]:
    return (
        Route(
            "GET",
            "/v1/deliveries",
            deliveries.listed,
            "deliveries",
            "List deliveries",
            {200: wire.DeliveryPage},
            Scope.READ,
            query=deliveries.DeliveryQuery,
        ),
        Route(
            "GET",
            "/v1/deliveries/{delivery}/timeline",
            deliveries.timeline,
            "deliveries",
            "Explain a delivery",
            {200: wire.Timeline},
            Scope.READ,
        ),
    )


def _users() -> Sequence[Route]:
    tag, one = "users", "/v1/users/{user}"
    read, write = Scope.USERS_READ, Scope.USERS_WRITE
    known: dict[int, Any] = {200: wire.UserAnswer}
    body = users.UserBody
    return (
        Route("GET", "/v1/users", users.listed, tag, "List users", {200: wire.UserPage}, read, query=paging.Page),
        Route("PUT", one, users.put, tag, "Create or replace a user", known, write, body=body),
        Route("PATCH", one, users.patch, tag, "Change a user", known, write, body=body),
        Route("GET", one, users.get, tag, "Look at a user", known, read),
        Route("DELETE", one, users.erase, tag, "Erase a user", {204: None}, write),
        Route(
            "POST",
            f"{one}/tokens",
            users.token,
            tag,
            "Make a token for a user",
            {201: wire.TokenAnswer},
            write,
            body=users.TokenBody,
            may_be_empty=True,
        ),
        Route(
            "POST",
            f"{one}/revoke",
            users.revoke,
            tag,
            "Take back a user's tokens",
            {200: wire.RevokedAnswer},
            write,
            body=users.RevokeBody,
            may_be_empty=True,
        ),
    )


def _choices() -> Sequence[Route]:
    tag, one = "users", "/v1/users/{user}"
    read, write = Scope.USERS_READ, Scope.USERS_WRITE
    chosen: dict[int, Any] = {200: wire.PreferencesAnswer}
    choices = users.PreferencesBody
    return (
        Route("GET", f"{one}/preferences", users.preferences, tag, "Look at a user's choices", chosen, read),
        Route(
            "PUT",
            f"{one}/preferences",
            users.put_preferences,
            tag,
            "Replace a user's choices",
            chosen,
            write,
            body=choices,
        ),
        Route(
            "PATCH",
            f"{one}/preferences",
            users.patch_preferences,
            tag,
            "Change some of a user's choices",
            chosen,
            write,
            body=choices,
        ),
        Route(
            "GET",
            f"{one}/consents",
            users.consents,
            tag,
            "Who chose what, when and from where",
            {200: wire.ConsentPage},
            read,
            query=paging.Page,
        ),
    )


def _devices() -> Sequence[Route]:
    tag, some, own = "devices", "/v1/users/{user}/devices", "/v1/me/devices"
    one, mine = some + "/{device}", own + "/{device}"
    read, write, user = Scope.USERS_READ, Scope.USERS_WRITE, Who.USER
    body, query = registration.DeviceBody, devices.DeviceQuery
    known: dict[int, Any] = {200: wire.DeviceAnswer}
    gone: dict[int, Any] = {204: None}
    return (
        Route("GET", some, devices.listed, tag, "List a user's devices", {200: wire.DeviceList}, read),
        Route("GET", one, devices.get, tag, "Look at a device", known, read, query=query),
        Route("PUT", one, devices.put, tag, "Register a device", known, write, body=body),
        Route("DELETE", one, devices.remove, tag, "Log a device out", gone, write, query=query),
        Route("GET", own, devices.own, "me", "List the own devices", {200: wire.OwnDevices}, who=user),
        Route("PUT", mine, devices.put_device, "me", "Register an own device", known, who=user, body=body),
        Route("DELETE", mine, devices.remove_device, "me", "Log an own device out", gone, who=user, query=query),
    )


def _topics() -> Sequence[Route]:
    members = "/v1/topics/{topic}/subscribers"
    return (
        Route(
            "GET",
            members,
            topics.subscribers,
            "topics",
            "List a topic's subscribers",
            {200: wire.SubscriberPage},
            Scope.TOPICS_READ,
            query=paging.Page,
        ),
        Route(
            "PUT",
            members + "/{user}",
            topics.subscribe,
            "topics",
            "Subscribe a user",
            {204: None},
            Scope.TOPICS_WRITE,
        ),
        Route(
            "DELETE",
            members + "/{user}",
            topics.unsubscribe,
            "topics",
            "Unsubscribe a user",
            {204: None},
            Scope.TOPICS_WRITE,
        ),
    )


def _suppressions() -> Sequence[Route]:
    stop, stopped = "/v1/suppressions", "suppressions"
    return (
        Route(
            "GET",
            stop,
            suppressions.listed,
            stopped,
            "List forbidden addresses",
            {200: wire.SuppressionPage},
            Scope.SUPPRESSIONS_READ,
            query=suppressions.SuppressionQuery,
        ),
        Route(
            "POST",
            stop,
            suppressions.add,
            stopped,
            "Forbid an address",
            {201: wire.SuppressionAnswer},
            Scope.SUPPRESSIONS_WRITE,
            body=suppressions.SuppressionBody,
        ),
        Route(
            "POST",
            f"{stop}/import",
            suppressions.bring,
            stopped,
            "Forbid the addresses of a CSV file",
            {200: wire.ImportAnswer},
            Scope.SUPPRESSIONS_WRITE,
            raw="text/csv",
        ),
        Route(
            "GET",
            f"{stop}/export",
            suppressions.export,
            stopped,
            "Forbidden addresses as a CSV file",
            {200: str},
            Scope.SUPPRESSIONS_READ,
            query=suppressions.ExportQuery,
            media="text/csv",
        ),
        Route(
            "DELETE",
            stop + "/{channel}/{address}",
            suppressions.remove,
            stopped,
            "Allow an address again",
            {204: None, 200: wire.RemovedAnswer},
            Scope.SUPPRESSIONS_WRITE,
            query=suppressions.RemoveQuery,
        ),
    )


def _connections() -> Sequence[Route]:
    tag, some = "connections", "/v1/connections"
    read, write, send = Scope.CONNECTIONS_READ, Scope.CONNECTIONS_WRITE, Scope.SOCKETS_SEND
    told: dict[int, Any] = {202: wire.PublishAnswer}
    closed: dict[int, Any] = {200: wire.ClosedAnswer}
    body, user = ephemeral.EphemeralBody, "/v1/users/{user}"
    return (
        Route(
            "GET",
            some,
            connections.listed,
            tag,
            "List open connections",
            {200: wire.ConnectionList},
            read,
            query=connections.ConnectionQuery,
        ),
        Route("DELETE", some + "/{connection}", connections.close, tag, "Close a connection", closed, write),
        Route("DELETE", f"{user}/connections", connections.close_all, tag, "Close a user's connections", closed, write),
        Route(
            "GET", f"{user}/presence", connections.presence, tag, "Is a user here?", {200: wire.PresenceAnswer}, read
        ),
        Route(
            "POST",
            "/v1/topics/{topic}/publish",
            ephemeral.publish,
            "sockets",
            "Tell a topic's listeners",
            told,
            send,
            body=body,
        ),
        Route("POST", "/v1/sockets/broadcast", ephemeral.broadcast, "sockets", "Tell everybody", told, send, body=body),
    )


def _pushes() -> Sequence[Route]:
    return (
        Route(
            "POST",
            "/v1/receipts/push",
            pushes.told,
            "push",
            "Tell what became of a push",
            {202: wire.PushReceiptAnswer},
            who=Who.ANYONE,
            body=pushes.PushReceiptBody,
            errors=(429,),
            anywhere=True,
        ),
        Route(
            "GET",
            "/v1/push/stats",
            pushes.stats,
            "push",
            "Sum up pushes",
            {200: wire.PushStats},
            Scope.READ,
            query=pushes.StatsQuery,
        ),
    )


def _operations() -> Sequence[Route]:
    read, several = Scope.CATALOG_READ, "/v1/providers"
    return (
        Route("GET", "/v1/types", catalog.types, "catalog", "List types", {200: wire.TypePage}, read),
        Route("GET", "/v1/templates", catalog.templates, "catalog", "List templates", {200: wire.TemplatePage}, read),
        Route(
            "POST",
            "/v1/templates/preview",
            catalog.preview,
            "catalog",
            "Preview a template",
            {200: wire.PreviewAnswer},
            read,
            body=catalog.PreviewBody,
        ),
        Route("GET", several, providers.listed, "providers", "List accounts", {200: wire.ProviderList}, read),
        Route(
            "POST",
            several + "/{account}/resume",
            providers.resume,
            "providers",
            "Resume an account's marketing",
            {200: wire.ProviderAnswer},
            Scope.OPERATE,
        ),
        Route(
            "GET",
            "/v1/dead",
            dead.listed,
            "dead",
            "List parked deliveries",
            {200: wire.DeadPage},
            Scope.READ,
            query=dead.DeadQuery,
        ),
        Route(
            "POST",
            "/v1/dead/redrive",
            dead.redrive,
            "dead",
            "Send parked deliveries again",
            {200: wire.RedriveAnswer},
            Scope.OPERATE,
            body=dead.RedriveBody,
        ),
    )


def _me() -> Sequence[Route]:
    tag, user = "me", Who.USER
    page: dict[int, Any] = {200: wire.InboxAnswer}
    chosen: dict[int, Any] = {200: wire.PreferencesAnswer}
    inbox, own = "/v1/me/inbox", "/v1/me/preferences"
    body = users.PreferencesBody
    return (
        Route("GET", inbox, me.inbox, tag, "Read or await the own inbox", page, who=user, query=me.InboxQuery),
        Route("PATCH", inbox, me.change_inbox, tag, "Mark own items", page, who=user, body=me.InboxBody),
        Route(
            "GET",
            f"{inbox}/stream",
            me.stream,
            tag,
            "Stream the own inbox",
            {200: str},
            who=user,
            query=me.StreamQuery,
            media="text/event-stream",
        ),
        Route("GET", own, me.preferences, tag, "Look at the own choices", chosen, who=user),
        Route("PUT", own, me.put_preferences, tag, "Replace the own choices", chosen, who=user, body=body),
        Route("PATCH", own, me.patch_preferences, tag, "Change some of the own choices", chosen, who=user, body=body),
    )


CALLS: Sequence[Route] = (
    *_notifications(),
    *_deliveries(),
    *_users(),
    *_choices(),
    *_devices(),
    *_topics(),
    *_suppressions(),
    *_connections(),
    *_pushes(),
    *_operations(),
    *_me(),
    *meta.WATCH,
)
"""Everything that the documentation describes."""

ROUTES: Sequence[Route] = (*CALLS, *meta.pages(CALLS))
"""Everything that is served."""
