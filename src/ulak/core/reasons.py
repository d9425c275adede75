"""Why did a delivery end, or why does it wait? The closed list, with one sentence each.

A vendor's own words (``smtp_550_5.1.1``) stand with the attempt; a delivery's reason is one of these,
so that people can filter by it. ``suppressed`` carries the cause of the suppression.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Reason(StrEnum):
    """The reasons that a delivery may carry."""

    # skipped
    OPTED_OUT = "opted_out"
    NO_ADDRESS = "no_address"
    NO_ACCOUNT = "no_account"
    DEVICE_GONE = "device_gone"
    DEVICE_DISABLED = "device_disabled"
    DEVICE_STALE = "device_stale"
    DELIVERED = "delivered"
    SEEN = "seen"
    READ = "read"
    CLICKED = "clicked"
    # suppressed
    BOUNCED = "bounced"
    SOFT_BOUNCED = "soft_bounced"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    MANUAL = "manual"
    # expired, cancelled
    TOO_LATE = "too_late"
    BY_CALLER = "by_caller"
    # failed, bounced, dead, unresolved
    POLICY_REFUSED = "policy_refused"
    ADDRESS_REFUSED = "address_refused"
    BOUNCED_LATER = "bounced_later"
    REFUSED_LATER = "refused_later"
    BAD_PAYLOAD = "bad_payload"
    RENDER_FAILED = "render_failed"
    RETRIES_EXHAUSTED = "retries_exhausted"
    CRASHED = "crashed"
    NO_ANSWER = "no_answer"
    # on the way
    THROTTLED = "throttled"
    VENDOR_TROUBLE = "vendor_trouble"
    ACCOUNT_UNUSABLE = "account_unusable"
    RECIPIENT_BUSY = "recipient_busy"
    REDRIVEN = "redriven"
    ACCOUNT_PAUSED = "account_paused"
    DEVICE_BUSY = "device_busy"


SENTENCES: Mapping[Reason, str] = {
    Reason.OPTED_OUT: "The user does not want this category on this channel.",
    Reason.NO_ADDRESS: "The user has no address for this channel.",
    Reason.NO_ACCOUNT: "No account sends on this channel; on push, none serves the app of the device.",
    Reason.DEVICE_GONE: "The device has been removed, or belongs to another user by now.",
    Reason.DEVICE_DISABLED: "The push service no longer takes messages for the device.",
    Reason.DEVICE_STALE: "The app has not been opened on the device for so long that only critical messages go there.",
    Reason.DELIVERED: "An earlier step had reached the user, and the route says to stop then.",
    Reason.SEEN: "The user had seen an earlier step, and the route says to stop then.",
    Reason.READ: "The user had read an earlier step, and the route says to stop then.",
    Reason.CLICKED: "The user had clicked an earlier step, and the route says to stop then.",
    Reason.BOUNCED: "Earlier mail to this address came back for good.",
    Reason.SOFT_BOUNCED: "Mail to this address came back several times in a row; it is left alone for a while.",
    Reason.COMPLAINED: "The recipient had reported earlier mail as spam.",
    Reason.UNSUBSCRIBED: "The recipient had unsubscribed this address.",
    Reason.MANUAL: "Somebody put this address on the suppression list by hand.",
    Reason.TOO_LATE: "It could not be sent before it expired.",
    Reason.BY_CALLER: "It was cancelled before it was sent.",
    Reason.POLICY_REFUSED: "The receiving side refused it for its content, our reputation or our own DNS.",
    Reason.ADDRESS_REFUSED: "The receiving side says that the address does not exist or never takes mail.",
    Reason.BOUNCED_LATER: "It had been accepted, then it came back.",
    Reason.REFUSED_LATER: "The vendor had taken it, and then did not send it.",
    Reason.BAD_PAYLOAD: "The vendor can never take this message as it is.",
    Reason.RENDER_FAILED: "Its template could not be rendered with this data.",
    Reason.RETRIES_EXHAUSTED: "It was tried for as long as its class allows.",
    Reason.CRASHED: "The node died each time that it was tried alone.",
    Reason.NO_ANSWER: "It was sent, but no answer came: it may or may not have been taken.",
    Reason.THROTTLED: "The vendor asked to wait.",
    Reason.VENDOR_TROUBLE: "The vendor or the way to it had a passing fault; nothing was taken.",
    Reason.ACCOUNT_UNUSABLE: "The account can't send now: credentials, quota or suspension.",
    Reason.RECIPIENT_BUSY: "The address takes nothing for now, such as a full mailbox.",
    Reason.REDRIVEN: "Somebody asked for it to be tried again.",
    Reason.ACCOUNT_PAUSED: "Too much of what its account sent came back; its marketing waits for a resume.",
    Reason.DEVICE_BUSY: "The push service wants the device left alone for a moment.",
}
