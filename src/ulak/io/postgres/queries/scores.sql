-- name: count
-- What was sent by accounts since the last time, hour by hour; in order, so that two nodes can't deadlock.
INSERT INTO account_events AS a (tenant, account, class, hour, kind, n)
SELECT tenant, account, class, date_trunc('hour', now(), 'UTC'), kind, sum(n)
FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::bigint[]) AS q (tenant, account, class, kind, n)
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (tenant, account, class, hour, kind) DO UPDATE SET n = a.n + excluded.n;

-- name: hours
-- What accounts sent and what came of it, hour by hour, over the time that a score looks at. Accounts are the
-- installation's: tenants and classes are added up.
SELECT account, hour, kind, sum(n)::bigint AS n
FROM account_events WHERE hour >= now() - $1::float8 * interval '1 day' AND ($2::text IS NULL OR account = $2)
GROUP BY account, hour, kind;

-- name: pauses
-- Accounts that are or were paused.
SELECT account, reason, evidence, paused_at, resumed_at, now() AS now FROM account_pauses;

-- name: pause
-- Stop an account's marketing; true when it was not stopped before.
INSERT INTO account_pauses AS p (account, reason, evidence) VALUES ($1::text, $2::text, $3::text)
ON CONFLICT (account) DO UPDATE
SET reason = excluded.reason, evidence = excluded.evidence, paused_at = now(), resumed_at = NULL
WHERE p.resumed_at IS NOT NULL
RETURNING true;

-- name: resume
-- Let it go on; true when it was stopped.
UPDATE account_pauses SET resumed_at = now() WHERE account = $1::text AND resumed_at IS NULL RETURNING true;

-- name: forget
-- Hours that no score looks at any more.
DELETE FROM account_events WHERE hour < now() - interval '30 days';
