"""What happens when nobody gives events: a short story of six people and one repository.

The events have GitHub's shape, so that they run through the same project as real ones.
"""

from __future__ import annotations

from typing import Any

from ulak.cli.demonstration.program import Event

_REPOSITORY = {"full_name": "lighthouse/lamp", "html_url": "https://github.com/lighthouse/lamp"}
_ORGANISATION = {"login": "lighthouse", "type": "Organization"}


def story() -> tuple[Event, ...]:
    """A week in the life of a small project, from the first issue to the release and its aftermath."""
    return (*_the_lamp_flickers(), *_a_remedy(), *_the_release(), *_aftermath())


def _person(login: str) -> dict[str, Any]:
    return {"login": login, "type": "User", "html_url": f"https://github.com/{login}"}


def _event(name: str, sender: str, **payload: Any) -> Event:
    common = {"repository": _REPOSITORY, "organization": _ORGANISATION, "sender": _person(sender)}
    return Event(name, common | payload)


def _issue(**more: Any) -> dict[str, Any]:
    return {
        "number": 1,
        "title": "The lamp flickers 💡 when the fog horn sounds",
        "body": "Steps:\n\n1. switch on the **lamp**\n2. sound the horn\n\n<b>Expected</b>: steady light & calm ships",
        "html_url": "https://github.com/lighthouse/lamp/issues/1",
        "user": _person("mira"),
    } | more


def _the_lamp_flickers() -> tuple[Event, ...]:
    link = "https://github.com/lighthouse/lamp/issues/1#comment-"
    return (
        _event("organization", "ada", action="member_added", membership={"user": _person("deniz"), "role": "member"}),
        _event("organization", "ada", action="member_added", membership={"user": _person("zeynep"), "role": "admin"}),
        _event("issues", "mira", action="opened", issue=_issue()),
        _event("issues", "ada", action="assigned", issue=_issue(), assignee=_person("deniz")),
        _event(
            "issue_comment",
            "deniz",
            action="created",
            issue=_issue(),
            comment={"body": "Sis düdüğü de bu sigortada; **ölçtüm**, 3,2 V düşüyor.", "html_url": f"{link}1"},
        ),
        _event("label", "ada", action="created", label={"name": "electrics"}),
        _event(
            "discussion",
            "efe",
            action="created",
            discussion={"title": "", "body": "Does anybody still use the old reflector?", "user": _person("efe")},
        ),
    )


def _pull(**more: Any) -> dict[str, Any]:
    return {
        "number": 2,
        "title": "Give the horn a fuse of its own",
        "body": "Closes #1.\n\n```\nfuse = 16  # ampere\n```",
        "html_url": "https://github.com/lighthouse/lamp/pull/2",
        "user": _person("deniz"),
        "commits": 3,
        "changed_files": 2,
        "additions": 40,
        "deletions": 7,
    } | more


def _a_remedy() -> tuple[Event, ...]:
    return (
        _event("create", "deniz", ref="own-fuse", ref_type="branch"),
        _event("push", "deniz", ref="refs/heads/own-fuse", commits=[{}, {}, {}], head_commit={"message": "Own fuse"}),
        _event("pull_request", "deniz", action="opened", pull_request=_pull()),
        _event("workflow_run", "deniz", action="completed", workflow_run={"name": "tests", "conclusion": "failure"}),
        _event("pull_request", "deniz", action="synchronize", pull_request=_pull(commits=4)),
        _event("workflow_run", "deniz", action="completed", workflow_run={"name": "tests", "conclusion": "success"}),
        _event(
            "pull_request_review",
            "zeynep",
            action="submitted",
            pull_request=_pull(),
            review={"body": "Çok güzel! Belgelere de eklensin lütfen 🙏", "state": "approved"},
        ),
        _event("pull_request", "zeynep", action="closed", pull_request=_pull(merged=True)),
        _event("issues", "zeynep", action="closed", issue=_issue(state="closed")),
    )


def _the_release() -> tuple[Event, ...]:
    return (
        _event("milestone", "ada", action="closed", milestone={"title": "Steady light"}),
        _event(
            "release",
            "ada",
            action="published",
            release={"name": "2.0 “Steady”", "tag_name": "v2.0", "body": "- the horn has its own fuse\n- " + "x" * 900},
        ),
        _event("deployment", "ada", action="created", deployment={"environment": "tower", "ref": "v2.0"}),
        _event("star", "tom", action="created"),
        _event("sponsorship", "tom", action="created", sponsorship={"sponsor": _person("tom")}),
    )


def _aftermath() -> tuple[Event, ...]:
    advisory = {"summary": "Fuse boxes of type B can be opened from afar", "severity": "high", "ghsa_id": "GHSA-0000"}
    return (
        Event("security_advisory", {"action": "published", "security_advisory": advisory}),
        _event("dependabot_alert", "ada", action="created", alert={"security_advisory": advisory, "number": 7}),
        _event("member", "ada", action="added", member=_person("tom")),
        Event(
            "marketplace_purchase",
            {
                "action": "purchased",
                "sender": _person("tom"),
                "marketplace_purchase": {"account": {"login": "harbour-office", "type": "Organization"}},
            },
        ),
    )
