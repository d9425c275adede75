-- name: secret
-- What ids of callback addresses are made with. Always the first: vendors are told those addresses once.
SELECT secret FROM installation_secrets WHERE purpose = 'callback' ORDER BY kid LIMIT 1;

-- name: make_secret
-- The first node makes it; of several at once, one wins.
INSERT INTO installation_secrets (purpose, kid, secret) VALUES ('callback', 1, $1::bytea) ON CONFLICT DO NOTHING;

-- name: keep
-- Store a verified callback as it came; only then is it answered.
INSERT INTO callbacks (tenant, provider, account, headers, body)
VALUES ($1::int, $2::text, $3::text, $4::text, $5::bytea);

-- name: take
-- Lease callbacks that nobody applies: new, due at last, or left by a node that died. No more than $2 bytes of them
-- beyond the first.
WITH free AS (
    SELECT ctid AS place, ready_at, id, octet_length(body) AS size FROM callbacks
    WHERE ready_at <= now() ORDER BY ready_at LIMIT $1::int FOR UPDATE SKIP LOCKED
), few AS (
    SELECT place, sum(size) OVER (ORDER BY ready_at, id) - size AS before FROM free
)
UPDATE callbacks SET boot = $3::int, tries = least(tries + 1, 1000), ready_at = now() + $4::float8 * interval '1 second'
WHERE ctid = ANY (ARRAY(SELECT place FROM few WHERE before < $2::bigint))
RETURNING id, tenant, provider, account, received_at, tries, body;

-- name: release
-- Give callbacks back that could not be applied for no fault of theirs.
UPDATE callbacks SET boot = 0, tries = tries - 1, ready_at = now() + $3::float8 * interval '1 second'
WHERE id = ANY ($1::bigint[]) AND boot = $2::int;

-- name: release_former
-- A node that comes back under its name lets go of what its former self held; the only node there is, of everything.
UPDATE callbacks SET boot = 0, ready_at = now()
WHERE boot <> 0 AND ($2::bool OR boot IN (
    SELECT b.boot FROM boots b JOIN boots me ON me.node = b.node WHERE me.boot = $1::int AND b.boot < me.boot));

-- name: put_aside
-- A copy of callbacks that hold events which nobody here knows, for a release that does.
INSERT INTO dead_callbacks (id, tenant, provider, account, received_at, headers, body, reason)
SELECT id, tenant, provider, account, received_at, headers, body, $3::text
FROM callbacks WHERE id = ANY ($1::bigint[]) AND boot = $2::int
ON CONFLICT (id) DO NOTHING;

-- name: finish
-- Deleting the row under its lease is what makes a callback applied exactly once.
DELETE FROM callbacks WHERE id = ANY ($1::bigint[]) AND boot = $2::int RETURNING id;

-- name: watched
-- Whether a later step of one of these deliveries' notifications waits for such a mark, so that the gate has to be taken.
SELECT EXISTS (
    SELECT 1
    FROM unnest($1::int[], $2::uuid[], $3::smallint[]) AS q (tenant, delivery, mask)
    JOIN deliveries d ON d.tenant = q.tenant AND d.id = q.delivery
    -- Compared as rows, so that the index over notification and user is taken: that over the user alone would be read
    -- through all that a user ever got.
    JOIN deliveries o ON o.tenant = d.tenant AND (o.notification, o.user_id) >= (d.notification, d.user_id)
                     AND (o.notification, o.user_id) <= (d.notification, d.user_id)
    WHERE o.unless & q.mask <> 0
);

-- name: fresh
-- Which events are new; they are not from here on. In order, so that two nodes can't deadlock.
WITH q AS (
    SELECT DISTINCT ON (tenant, account, event) tenant, account, event, ord
    FROM unnest($1::int[], $2::text[], $3::bytea[]) WITH ORDINALITY AS q (tenant, account, event, ord)
    ORDER BY tenant, account, event, ord
), added AS (
    INSERT INTO callback_events (tenant, account, event) SELECT tenant, account, event FROM q
    ON CONFLICT DO NOTHING
    RETURNING tenant, account, event
)
SELECT q.ord::int AS ord FROM q JOIN added USING (tenant, account, event);

-- name: standing
-- The deliveries that events speak of, held until they are changed; in order, so that two nodes can't deadlock.
SELECT d.tenant, d.id, d.notification, d.user_id, d.channel, d.target, d.category, d.class, d.state, d.reason, d.attempts,
       d.settled_at, d.delivered_at, d.opened_at, d.clicked_at, d.complained_at
FROM deliveries d
WHERE (d.tenant, d.id) IN (SELECT tenant, delivery FROM unnest($1::int[], $2::uuid[]) AS q (tenant, delivery))
ORDER BY d.tenant, d.id
FOR NO KEY UPDATE OF d;

-- name: write
-- What events come to: the deliveries' new states ($1–$9), receipts ($10–$15), marks for steps that wait for them
-- ($16–$19), and counts for the account ($20–$25).
WITH folded AS (
    UPDATE deliveries d
    SET state = q.state, reason = q.reason, settled_at = q.settled_at, delivered_at = q.delivered_at,
        opened_at = q.opened_at, clicked_at = q.clicked_at, complained_at = q.complained_at
    FROM unnest($1::int[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],
                $8::timestamptz[], $9::timestamptz[])
         AS q (tenant, id, state, reason, settled_at, delivered_at, opened_at, clicked_at, complained_at)
    WHERE d.tenant = q.tenant AND d.id = q.id
), told AS (
    INSERT INTO receipts (tenant, delivery, n, kind, source, detail, at)
    SELECT tenant, delivery, n, kind, 'provider', detail, at
    FROM unnest($10::int[], $11::uuid[], $12::smallint[], $13::text[], $14::text[], $15::timestamptz[])
         AS q (tenant, delivery, n, kind, detail, at)
), marks AS (
    INSERT INTO markers AS m (tenant, notification, user_id, mask)
    SELECT q.tenant, q.notification, q.user_id, bit_or(q.mask)
    FROM unnest($16::int[], $17::uuid[], $18::text[], $19::smallint[]) AS q (tenant, notification, user_id, mask)
    WHERE EXISTS (SELECT FROM deliveries o WHERE o.tenant = q.tenant AND o.unless & q.mask <> 0
                  AND (o.notification, o.user_id) >= (q.notification, q.user_id)
                  AND (o.notification, o.user_id) <= (q.notification, q.user_id))
    GROUP BY q.tenant, q.notification, q.user_id
    ORDER BY q.tenant, q.notification, q.user_id
    ON CONFLICT (tenant, notification, user_id) DO UPDATE SET mask = m.mask | excluded.mask, at = now()
    WHERE m.mask | excluded.mask <> m.mask
)
INSERT INTO account_events AS a (tenant, account, class, hour, kind, n)
SELECT tenant, account, class, date_trunc('hour', at, 'UTC'), kind, sum(n)
FROM unnest($20::int[], $21::text[], $22::text[], $23::timestamptz[], $24::text[], $25::int[])
     AS q (tenant, account, class, at, kind, n)
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (tenant, account, class, hour, kind) DO UPDATE SET n = a.n + excluded.n;

-- name: reach
-- What is now known of addresses: the latest delivery, and the latest $6 soft bounces.
INSERT INTO reachability AS r (tenant, channel, address, delivered_at, soft)
SELECT tenant, channel, address, max(at) FILTER (WHERE NOT soft),
       coalesce((array_agg(at ORDER BY at DESC) FILTER (WHERE soft))[:$6::int], '{}')
FROM unnest($1::int[], $2::text[], $3::text[], $4::timestamptz[], $5::bool[]) AS q (tenant, channel, address, at, soft)
GROUP BY tenant, channel, address ORDER BY tenant, channel, address
ON CONFLICT (tenant, channel, address) DO UPDATE
SET delivered_at = greatest(r.delivered_at, excluded.delivered_at),
    soft = (SELECT coalesce((array_agg(t ORDER BY t DESC))[:$6], '{}') FROM unnest(r.soft || excluded.soft) AS t)
RETURNING tenant, channel, address, delivered_at, soft;

-- name: suppress
-- Forbid addresses because of events. What somebody wished, or holds for good, stays; one that ends gives way to one
-- that ends later or never; of two alike the earliest event is the evidence, in whatever order they came.
INSERT INTO suppressions AS s (tenant, channel, address, scope, reason, evidence, source, event, event_at, expires_at)
SELECT tenant, channel, address, scope, reason, evidence, source, event, event_at, expires_at
FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::timestamptz[], $10::timestamptz[])
     AS q (tenant, channel, address, scope, reason, evidence, source, event, event_at, expires_at)
ORDER BY tenant, channel, address, scope
ON CONFLICT (tenant, channel, address, scope) DO UPDATE
SET reason = excluded.reason, evidence = excluded.evidence, source = excluded.source, event = excluded.event,
    event_at = excluded.event_at, expires_at = excluded.expires_at, created_at = now()
WHERE s.expires_at <= now()
   OR s.expires_at IS NOT NULL AND excluded.expires_at IS NULL
   OR s.reason = excluded.reason AND s.expires_at < excluded.expires_at
   OR s.reason = excluded.reason AND s.expires_at IS NOT DISTINCT FROM excluded.expires_at
      AND (excluded.event_at, excluded.event) < (s.event_at, s.event);

-- name: lift
-- Something arrived there after the soft bounces: they forbid nothing any more.
DELETE FROM suppressions s
USING unnest($1::int[], $2::text[], $3::text[]) AS q (tenant, channel, address)
WHERE s.tenant = q.tenant AND s.channel = q.channel AND s.address = q.address AND s.scope = 'all' AND s.reason = 'soft_bounced';

-- name: forget_events
-- Events that no vendor sends again, a few thousand at a time.
DELETE FROM callback_events WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM callback_events WHERE at < now() - interval '30 days' LIMIT $1::int));

-- name: forget_dead
-- Callbacks put aside long ago: they hold addresses.
DELETE FROM dead_callbacks WHERE id IN (
    SELECT id FROM dead_callbacks WHERE at < now() - interval '30 days' LIMIT $1::int);

-- name: counts
-- Callbacks that wait, and those that were put aside.
SELECT (SELECT count(*) FROM callbacks)::int AS waiting, (SELECT count(*) FROM dead_callbacks)::int AS dead;
