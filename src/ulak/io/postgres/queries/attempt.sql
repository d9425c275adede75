-- name: claim
-- Take ready rows of one lane and bulkhead, no more than there are free slots, and put them under one lease.
-- Each tenant bucket has its own room, and its own floor: a sequence number below which nothing can be left,
-- so that rows deleted under a long-held snapshot are not walked over again (docs/decisions/0005). Buckets are
-- asked in the given order until the slots are full; a nested loop locks no row that it does not take.
WITH picked AS (
    SELECT r.place FROM unnest($3::smallint[], $4::bigint[], $5::int[]) AS b (bucket, floor, room)
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM ready
        WHERE lane = $1::smallint AND bulkhead = $2::text AND bucket = b.bucket AND seq > b.floor
        ORDER BY seq LIMIT b.room FOR UPDATE SKIP LOCKED
    ) AS r
    LIMIT $9::int
), taken AS (
    DELETE FROM ready WHERE ctid = ANY (ARRAY(SELECT place FROM picked))
    RETURNING bucket, seq, tenant, delivery, n, crashes, verdict
), lease AS (
    INSERT INTO leases (token, boot, expires_at, solo, lane, bulkhead, tenants, deliveries, ns, crashes, buckets)
    SELECT nextval('tokens'), $6::int, now() + $7::float8 * interval '1 second', $8::bool, $1, $2,
           array_agg(tenant), array_agg(delivery), array_agg(n), array_agg(crashes), array_agg(bucket)
    FROM taken HAVING count(*) > 0
    RETURNING token
)
SELECT t.bucket, t.seq, t.tenant, t.delivery, t.n, t.crashes, t.verdict, l.token,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax
FROM taken t, lease l ORDER BY t.seq;

-- name: begin
-- The last check and the attempt row are one statement: only rows that it returns as started are sent.
-- It joins the lease (locked, so that nobody reaps it meanwhile), cancellation, expiry, what the user did,
-- the user's choices (the most specific wins; a wildcard does not silence a critical type), suppressions, and on push
-- the device (the CASEs spare other channels the look at `devices` and `inboxes`) with the user's unread items.
-- `refused` are the accounts that passed a delivery on since its last wait; a first try has none.
WITH held AS (
    SELECT token FROM leases WHERE token = $1::bigint AND expires_at > now() FOR SHARE
), asked AS (
    SELECT q.* FROM unnest($2::int[], $3::uuid[], $4::smallint[], $5::text[]) AS q (tenant, delivery, n, verdict), held
), judged AS (
    SELECT q.tenant, q.delivery, q.n, d.notification, d.user_id, d.channel, d.target, d.category, d.class, d.locale,
           d.attempts, coalesce(d.due_at, d.planned_at) AS first_at, d.expires_at, d.resend, n.type, n.catalog, n.data, n.actor, n.accepted_at,
           n.collapse_key, i.unread, CASE WHEN v.id IS NOT NULL THEN json_build_object(
               'id', v.id, 'kind', v.kind, 'app', v.app, 'platform', v.platform, 'address', v.address,
               'registered_at', v.registered_at, 'environment', v.environment, 'flipped', v.flipped, 'p256dh', v.p256dh,
               'auth', v.auth, 'account', v.account, 'app_version', v.app_version, 'strikes', v.strikes)::text END AS device,
           extract(epoch FROM least(v.wait_until, d.expires_at) - now())::float8 AS wait,
           d.state AS before, CASE WHEN q.n > 1 THEN (
               SELECT array_agg(e.account) FROM attempts e
               JOIN outcomes o ON o.tenant = e.tenant AND o.delivery = e.delivery AND o.n = e.n
               WHERE e.tenant = q.tenant AND e.delivery = q.delivery AND o.next_account IS NOT NULL AND e.n > coalesce((
                   SELECT w.n FROM outcomes w
                   WHERE w.tenant = q.tenant AND w.delivery = q.delivery AND w.next_account IS NULL AND w.kind <> 'released'
                   ORDER BY w.n DESC LIMIT 1), 0)
           ) END AS refused,
           CASE
               WHEN a.n IS NOT NULL OR d.state NOT IN ('pending', 'held', 'retrying', 'unknown') THEN 'stale'
               WHEN q.verdict IS NOT NULL THEN q.verdict
               WHEN n.cancelled_at IS NOT NULL THEN 'cancelled:by_caller'
               WHEN d.expires_at <= now() THEN
                   CASE WHEN d.state = 'unknown' THEN 'unresolved:no_answer' ELSE 'expired:too_late' END
               WHEN m.mask & d.unless <> 0 THEN
                   CASE WHEN m.mask & d.unless & 4 <> 0 THEN 'skipped:read' WHEN m.mask & d.unless & 2 <> 0 THEN 'skipped:seen'
                        WHEN m.mask & d.unless & 8 <> 0 THEN 'skipped:clicked' ELSE 'skipped:delivered' END
               WHEN NOT coalesce(p.allowed, true) THEN 'skipped:opted_out'
               WHEN s.reason IS NOT NULL THEN 'suppressed:' || s.reason
               WHEN d.channel = 'push' AND v.user_id IS DISTINCT FROM d.user_id THEN 'skipped:device_gone'
               WHEN v.disabled_at IS NOT NULL OR v.expires_at <= now() THEN 'skipped:device_disabled'
               WHEN x.account IS NOT NULL THEN 'paused'
               WHEN v.wait_until > now() THEN 'busy'
           END AS verdict
    FROM asked q
    JOIN deliveries d ON d.tenant = q.tenant AND d.id = q.delivery
    JOIN notifications n ON n.tenant = d.tenant AND n.id = d.notification
    LEFT JOIN attempts a ON a.tenant = q.tenant AND a.delivery = q.delivery AND a.n = q.n
    LEFT JOIN markers m ON m.tenant = d.tenant AND m.notification = d.notification AND m.user_id = d.user_id
    LEFT JOIN LATERAL (
        SELECT allowed FROM preferences p
        WHERE p.tenant = d.tenant AND p.user_id = d.user_id AND p.category IN (d.category, '*')
          AND p.channel IN (d.channel, '*') AND (d.class <> 'critical' OR p.category = d.category)
        ORDER BY p.category = '*', p.channel = '*' LIMIT 1
    ) AS p ON true
    LEFT JOIN LATERAL (
        SELECT reason FROM suppressions s
        WHERE s.tenant = d.tenant AND s.channel = d.channel
          -- Suppressions know an email address by its lower-case form (core/content/address.py).
          AND s.address = CASE WHEN d.channel = 'email' THEN lower(d.target) ELSE d.target END
          -- The scopes of core/suppression.py, the widest first.
          AND (s.scope IN ('all', 'class:' || d.class, d.category) OR (s.scope = 'not:critical' AND d.class <> 'critical'))
          AND (s.expires_at IS NULL OR s.expires_at > now())
        ORDER BY CASE s.scope WHEN 'all' THEN 1 WHEN 'not:critical' THEN 2 WHEN 'class:' || d.class THEN 3 ELSE 4 END
        LIMIT 1
    ) AS s ON true
    LEFT JOIN account_pauses x ON x.account = $6::text AND x.resumed_at IS NULL AND d.class = 'marketing'
    LEFT JOIN devices v ON v.tenant = d.tenant AND v.id = CASE WHEN d.channel = 'push' THEN d.target END
    LEFT JOIN inboxes i ON i.tenant = d.tenant AND i.user_id = CASE WHEN d.channel = 'push' THEN d.user_id END
), started AS (
    INSERT INTO attempts (tenant, delivery, n, token, account, reconcile_at)
    SELECT tenant, delivery, n, $1, $6::text, now() + $7::float8 * interval '1 second' FROM judged WHERE verdict IS NULL
    ON CONFLICT DO NOTHING
    RETURNING n
), stopped AS (
    UPDATE deliveries d
    SET state = split_part(j.verdict, ':', 1), reason = split_part(j.verdict, ':', 2), settled_at = now()
    FROM judged j WHERE j.verdict IS NOT NULL AND j.verdict NOT IN ('stale', 'paused', 'busy') AND d.tenant = j.tenant AND d.id = j.delivery
)
SELECT j.tenant, j.delivery, j.n, j.notification, j.user_id, j.target, j.category, j.class, j.locale, j.attempts,
       j.first_at, j.expires_at, j.resend, j.type, j.catalog, j.data, j.actor, j.before, j.refused, now() AS now, j.verdict,
       j.collapse_key, j.unread, j.device, j.wait,
       (SELECT count(*) FROM started) AS started
FROM judged j;

-- name: put_off
-- Claimed rows that are not to be sent for now, because of their account or their device: the same try, later.
WITH q AS (
    SELECT * FROM unnest($1::int[], $2::uuid[], $3::smallint[], $4::smallint[], $5::smallint[], $6::float8[], $7::text[])
         AS q (tenant, delivery, n, bucket, crashes, delay, reason)
), told AS (
    UPDATE deliveries d SET reason = q.reason FROM q
    WHERE d.tenant = q.tenant AND d.id = q.delivery AND d.state <> 'unknown'
)
INSERT INTO timers (bulkhead, due_at, lane, bucket, tenant, delivery, n, crashes)
SELECT $8::text, now() + delay * interval '1 second', $9::smallint, bucket, tenant, delivery, n, crashes FROM q;

-- name: begun
-- Which of these attempts are this lease's own: asked only when another transaction inserted some meanwhile.
SELECT a.delivery, a.n FROM unnest($2::int[], $3::uuid[], $4::smallint[]) AS q (tenant, delivery, n)
JOIN attempts a ON a.tenant = q.tenant AND a.delivery = q.delivery AND a.n = q.n AND a.token = $1::bigint;

-- name: finish
-- Outcomes of calls, under their leases: append the outcome, fold the state, queue the next try, suppress,
-- park. A result whose lease is gone is fenced: nothing of it is written, and it is not returned; nor is one
-- whose outcome is there, because the answer to an earlier commit was lost. A state that a receipt has
-- meanwhile moved on is left alone. What many results have in common is given once, each names it by its number ($6).
WITH held AS (
    SELECT token FROM leases WHERE token = ANY ($1::bigint[]) ORDER BY token FOR SHARE
), r AS (
    SELECT q.* FROM (
        SELECT delivery, detail, vendor_id, delay, ($7::bigint[])[code] AS token, ($8::int[])[code] AS tenant,
               ($9::smallint[])[code] AS n, ($10::text[])[code] AS kind, ($11::text[])[code] AS blame,
               ($12::text[])[code] AS reason, ($13::text[])[code] AS state, ($14::text[])[code] AS state_reason,
               ($15::bool[])[code] AS counts, ($16::text[])[code] AS suppress, ($17::bool[])[code] AS dead,
               ($18::smallint[])[code] AS lane, ($19::text[])[code] AS bulkhead, ($20::smallint[])[code] AS bucket,
               ($21::smallint[])[code] AS crashes, ($22::text[])[code] AS verdict, ($23::bool[])[code] AS settled,
               ($24::text[])[code] AS next_account
        FROM unnest($2::uuid[], $3::text[], $4::text[], $5::float8[], $6::int[])
             AS a (delivery, detail, vendor_id, delay, code)
    ) AS q
    JOIN held USING (token)
    WHERE NOT EXISTS (SELECT FROM outcomes o WHERE o.tenant = q.tenant AND o.delivery = q.delivery AND o.n = q.n)
), written AS (
    INSERT INTO outcomes (tenant, delivery, n, kind, blame, reason, detail, vendor_id, retry_at, next_account)
    SELECT tenant, delivery, n, kind, blame, reason, detail, vendor_id, now() + delay * interval '1 second', next_account FROM r
), folded AS (
    UPDATE deliveries d
    SET state = r.state, reason = r.state_reason, attempts = d.attempts + r.counts::int,
        settled_at = CASE WHEN r.settled THEN now() END
    FROM r WHERE d.tenant = r.tenant AND d.id = r.delivery AND d.state IN ('pending', 'held', 'retrying', 'unknown')
), again AS (
    INSERT INTO timers (bulkhead, due_at, lane, bucket, tenant, delivery, n, crashes, verdict)
    SELECT bulkhead, now() + delay * interval '1 second', lane, bucket, tenant, delivery, n + 1, crashes, verdict
    FROM r WHERE delay IS NOT NULL
), parked AS (
    INSERT INTO dead (tenant, delivery, n, lane, bulkhead, reason)
    SELECT tenant, delivery, n, lane, bulkhead, coalesce(state_reason, reason) FROM r WHERE dead
    ON CONFLICT (tenant, delivery) DO NOTHING
), suppressed AS (
    INSERT INTO suppressions AS s (tenant, channel, address, scope, reason, evidence, source)
    SELECT DISTINCT ON (d.tenant, d.channel, 3, r.suppress) d.tenant, d.channel,
           CASE WHEN d.channel = 'email' THEN lower(d.target) ELSE d.target END AS address, r.suppress, 'bounced', d.id::text,
           split_part(r.bulkhead, '/', 2)
    FROM r JOIN deliveries d ON d.tenant = r.tenant AND d.id = r.delivery
    WHERE r.suppress IS NOT NULL AND d.target <> ''
    ORDER BY d.tenant, d.channel, 3, r.suppress
    -- One that ends, or has ended, gives way: this one is for good.
    ON CONFLICT (tenant, channel, address, scope) DO UPDATE
    SET reason = excluded.reason, evidence = excluded.evidence, source = excluded.source, event = NULL, event_at = NULL,
        expires_at = NULL, created_at = now()
    WHERE s.expires_at IS NOT NULL
), ended AS (
    DELETE FROM leases WHERE token = ANY ($25::bigint[])
)
SELECT token, delivery, n FROM r;

-- name: end_leases
-- Leases of which every row was stopped by the last check.
DELETE FROM leases WHERE token = ANY ($1::bigint[]);

-- name: reap
-- Leases whose holder is gone: every call of theirs without an outcome is `unknown`. It waits for its deadline
-- to reconcile and is then decided by policy: sent again, alone, or `unresolved`. Only the crash of a row that
-- was alone counts towards `dead`.
WITH gone AS (
    DELETE FROM leases WHERE token IN (
        SELECT token FROM leases WHERE expires_at < now() ORDER BY token LIMIT $1::int FOR UPDATE SKIP LOCKED)
    RETURNING token, solo, lane, bulkhead, tenants, deliveries, ns, crashes, buckets
), rows AS (
    SELECT g.token, g.solo, g.lane % 10 AS lane, g.bulkhead, q.tenant, q.delivery, q.n, q.bucket,
           (q.crashes + g.solo::int)::smallint AS crashes
    FROM gone g, unnest(g.tenants, g.deliveries, g.ns, g.crashes, g.buckets) AS q (tenant, delivery, n, crashes, bucket)
), open AS (
    SELECT r.*, a.reconcile_at, d.resend, r.crashes >= $2::int AS hopeless
    FROM rows r
    JOIN attempts a ON a.tenant = r.tenant AND a.delivery = r.delivery AND a.n = r.n AND a.token = r.token
    JOIN deliveries d ON d.tenant = r.tenant AND d.id = r.delivery
    WHERE NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.tenant = r.tenant AND o.delivery = r.delivery AND o.n = r.n)
), written AS (
    INSERT INTO outcomes (tenant, delivery, n, kind, blame, reason, retry_at)
    SELECT tenant, delivery, n, 'unknown', 'us', 'node_lost', CASE WHEN NOT hopeless THEN reconcile_at END FROM open
), folded AS (
    UPDATE deliveries d
    SET state = CASE WHEN o.hopeless THEN 'dead' ELSE 'unknown' END,
        reason = CASE WHEN o.hopeless THEN 'crashed' ELSE 'no_answer' END,
        settled_at = CASE WHEN o.hopeless THEN now() END, attempts = d.attempts + 1
    FROM open o WHERE d.tenant = o.tenant AND d.id = o.delivery AND d.state IN ('pending', 'held', 'retrying', 'unknown')
), again AS (
    INSERT INTO timers (bulkhead, due_at, lane, bucket, tenant, delivery, n, crashes, verdict)
    SELECT bulkhead, reconcile_at, lane + CASE WHEN resend THEN 10 ELSE 0 END, bucket, tenant, delivery, n + 1, crashes,
           CASE WHEN NOT resend THEN 'unresolved:no_answer' END
    FROM open WHERE NOT hopeless
), parked AS (
    INSERT INTO dead (tenant, delivery, n, lane, bulkhead, reason)
    SELECT tenant, delivery, n, lane, bulkhead, 'crashed' FROM open WHERE hopeless
    ON CONFLICT (tenant, delivery) DO NOTHING
)
SELECT count(*)::int AS unknown, (SELECT count(*)::int FROM gone) AS leases FROM open;

-- name: expire_former
-- A node that comes back under its name lets go of what its former self held.
WITH former AS (SELECT boot FROM boots WHERE node = $1::text AND boot < $2::int),
     freed AS (UPDATE plan_work SET ready_at = now(), boot = 0 WHERE boot IN (SELECT boot FROM former) RETURNING 1)
UPDATE leases SET expires_at = now() - interval '1 second' WHERE boot IN (SELECT boot FROM former);

-- name: expire_all
-- The owner of an embedded database has just started it: no other node can be alive.
WITH freed AS (UPDATE plan_work SET ready_at = now(), boot = 0 WHERE boot <> 0 RETURNING 1)
UPDATE leases SET expires_at = now() - interval '1 second';

-- name: ready_lines
-- Which lanes and bulkheads have a row to claim, above the floors that are known.
SELECT DISTINCT q.lane, q.bulkhead
FROM unnest($1::smallint[], $2::text[], $3::smallint[], $4::bigint[]) AS q (lane, bulkhead, bucket, floor)
WHERE EXISTS (SELECT 1 FROM ready r
              WHERE r.lane = q.lane AND r.bulkhead = q.bulkhead AND r.bucket = q.bucket AND r.seq > q.floor);
