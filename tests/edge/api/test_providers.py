"""Does the door tell how accounts do, and let somebody resume one?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.edge.api.harness import KEY, call
from ulak.edge.api import Api
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.scores import Scores

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


async def test_accounts_are_listed_with_breaker_score_and_pause_and_can_be_resumed(served: Api, database: Pool) -> None:
    fresh = await call(served, "GET", "/v1/providers")
    (mail,) = fresh.json["items"]
    assert mail == {
        "account": "mail",
        "channel": "email",
        "provider": "smtp",
        "priority": 1,
        "weight": 1.0,
        "breaker": {"state": "open", "rests": 4.0},
        "score": None,
        "paused": None,
        "tokens_dying": False,
    }
    await database.execute(
        "INSERT INTO account_events (tenant, account, class, hour, kind, n) VALUES"
        " (0, 'mail', 'marketing', date_trunc('hour', now()), 'sent', 400),"
        " (0, 'mail', 'marketing', date_trunc('hour', now()), 'bounced', 41)"
    )
    await Scores(database).pause("mail", "bounces", "41 of 400")
    (mail,) = (await call(served, "GET", "/v1/providers")).json["items"]
    assert mail["score"]["levels"] == {"bounces": "pause", "complaints": "ok"}
    assert mail["score"]["rates"] == {"bounces": 0.1025, "complaints": 0.0}
    assert (mail["paused"]["reason"], mail["paused"]["evidence"]) == ("bounces", "41 of 400")
    resumed = await call(served, "POST", "/v1/providers/mail/resume")
    assert (resumed.status, resumed.json["paused"]) == (200, None)
    assert (await call(served, "POST", "/v1/providers/other/resume")).status == 404
    again = await call(served, "POST", "/v1/providers/mail/resume", token=KEY)
    assert again.status == 200, "a second one changes nothing"


async def test_an_account_whose_devices_are_refused_in_numbers_is_told_of(served: Api) -> None:
    dying = Api(replace(served._deps, doubted=lambda: {"mail": 1.0}))
    (mail,) = (await call(dying, "GET", "/v1/providers")).json["items"]
    assert mail["tokens_dying"] is True
