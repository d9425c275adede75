"""How do the accounts do: who can send, what came back, and whose marketing waits for somebody to look?"""

from __future__ import annotations

from ulak.core.model import Account
from ulak.core.score import Score
from ulak.edge.api import problem, wire
from ulak.edge.api.deps import ApiDeps
from ulak.edge.api.http import Response, answer
from ulak.edge.api.router import Call
from ulak.io.postgres.scores import Standing


async def listed(call: Call) -> Response:
    """The accounts of the project in force, as this node sees them."""
    accounts = call.deps.loaded(call.tenant).catalog.accounts
    standing = await call.deps.scores.standing(call.deps.clock())
    return answer(wire.ProviderList([_provider(account, standing, call.deps) for account in accounts.values()]))


async def resume(call: Call) -> Response:
    """Let an account send marketing again; what happened before counts no more."""
    account = call.deps.loaded(call.tenant).catalog.accounts.get(call.params["account"])
    if account is None:
        raise problem.not_found("account")
    await call.deps.scores.resume(account.name)
    standing = await call.deps.scores.standing(call.deps.clock(), account.name)
    return answer(_provider(account, standing, call.deps))


def _provider(account: Account, standing: Standing, deps: ApiDeps) -> wire.ProviderAnswer:
    state = deps.breakers().get(account.bulkhead)
    pause = standing.paused(account.name)
    return wire.ProviderAnswer(
        account=account.name,
        channel=account.channel,
        provider=account.provider,
        priority=account.priority,
        weight=account.weight,
        breaker=None if state is None else wire.BreakerAnswer(state[0], round(state[1], 1)),
        score=_score(standing.scores.get(account.name)),
        paused=None if pause is None else wire.PauseAnswer(pause.reason, pause.evidence, pause.paused_at),
        tokens_dying=bool(deps.doubted().get(account.name)),
    )


def _score(score: Score | None) -> wire.ScoreAnswer | None:
    if score is None:
        return None
    return wire.ScoreAnswer(
        since=score.since,
        sent=score.sent,
        accepted=score.accepted,
        deferred=score.deferred,
        bounced=score.bounced,
        complained=score.complained,
        rates={alarm.value: round(rate, 6) for alarm, rate in score.rates.items()},
        levels={alarm.value: level.value for alarm, level in score.levels.items()},
    )
