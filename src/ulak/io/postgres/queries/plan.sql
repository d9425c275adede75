-- name: take_work
-- Lease plan work that nobody plans: new, due at last, or left by a planner that died. No more than a planner has
-- room for, by its cost (core.work.cost, told by lengths): large lists and large data must not fill its memory.
WITH free AS (
    SELECT w.ctid AS place, w.ready_at, w.id,
           coalesce(octet_length(w.recipients) / 8 + 1, 500) + octet_length(n.data) / 200 AS cost
    FROM plan_work w JOIN notifications n ON n.tenant = w.tenant AND n.id = w.notification
    WHERE w.lane = $1::smallint AND w.ready_at <= now()
    ORDER BY w.ready_at LIMIT $2::int FOR UPDATE OF w SKIP LOCKED
), few AS (
    SELECT place, sum(cost) OVER (ORDER BY ready_at, id) - cost AS before FROM free
), taken AS (
    UPDATE plan_work SET boot = $3::int, takes = takes + 1, ready_at = now() + $4::float8 * interval '1 second'
    WHERE ctid = ANY (ARRAY(SELECT place FROM few WHERE before < $5::bigint))
    RETURNING id, tenant, notification, lane, takes, audience, topic, after, upto, recipients
)
SELECT t.*, n.type, n.catalog, n.accepted_at, n.expires_at, n.channels, n.actor, n.context, n.data
FROM taken t JOIN notifications n ON n.tenant = t.tenant AND n.id = t.notification;

-- name: suspect
-- A piece that an earlier planner did not finish is about to be planned alone: count it before, for afterwards
-- nobody may be left to do so.
UPDATE plan_work SET crashes = crashes + 1 WHERE id = $1::bigint AND boot = $2::int RETURNING crashes;

-- name: finish_work
-- Deleting the work row is what makes planning happen exactly once: only the holder of the lease can,
-- and whatever the transaction writes stands or falls with it.
WITH gone AS (
    DELETE FROM plan_work WHERE id = ANY ($1::bigint[]) AND boot = $2::int RETURNING id, tenant, notification
)
SELECT gone.id, CASE WHEN n.cancelled_at IS NOT NULL THEN 'cancelled:by_caller'
                     WHEN n.expires_at <= now() THEN 'expired:too_late' END AS verdict
FROM gone JOIN notifications n ON n.tenant = gone.tenant AND n.id = gone.notification;

-- name: topic_bounds
-- The last user id of each full range of $5 members of a topic, as of the notification's acceptance.
SELECT user_id FROM (
    SELECT user_id, row_number() OVER (ORDER BY user_id) AS position FROM (
        SELECT user_id FROM subscriptions
        WHERE tenant = $1::int AND topic = $2::text AND user_id > $3::text COLLATE "C"
          AND added_at <= $4::timestamptz AND (removed_at IS NULL OR removed_at > $4)
        ORDER BY user_id LIMIT $5::int * $6::int
    ) AS members
) AS numbered
WHERE position % $5 = 0 ORDER BY user_id;

-- name: all_bounds
-- The same over every user of the tenant.
SELECT id AS user_id FROM (
    SELECT id, row_number() OVER (ORDER BY id) AS position FROM (
        SELECT id FROM users
        WHERE tenant = $1::int AND id > $2::text COLLATE "C" AND created_at <= $3::timestamptz
        ORDER BY id LIMIT $4::int * $5::int
    ) AS members
) AS numbered
WHERE position % $4 = 0 ORDER BY id;

-- name: cut_ranges
-- Plan work for ranges of an audience, so that several planners share it.
INSERT INTO plan_work (tenant, notification, lane, ready_at, audience, topic, after, upto)
SELECT $1::int, $2::uuid, $3::smallint, now(), $4::text, $5::text, r.after, r.upto
FROM unnest($6::text[], $7::text[]) AS r (after, upto);

-- name: advance_walk
-- Move the cursor of a walk and let it go, under its lease.
UPDATE plan_work SET after = $3::text, ready_at = now(), boot = 0, takes = 0, crashes = 0
WHERE id = $1::bigint AND boot = $2::int RETURNING id;

-- name: topic_members
-- One range of a topic, as of the notification's acceptance. The last range has no upper end: it gets one that no id
-- can pass, because an OR would not bound the index scan and each range would be read to the end of the topic.
SELECT user_id FROM subscriptions
WHERE tenant = $1::int AND topic = $2::text AND user_id > $3::text COLLATE "C"
  AND user_id <= coalesce($4::text, repeat(chr(1114111), 256)) COLLATE "C"
  AND added_at <= $5::timestamptz AND (removed_at IS NULL OR removed_at > $5)
ORDER BY user_id;

-- name: all_members
-- One range of all users.
SELECT id AS user_id FROM users
WHERE tenant = $1::int AND id > $2::text COLLATE "C"
  AND id <= coalesce($3::text, repeat(chr(1114111), 256)) COLLATE "C"
  AND created_at <= $4::timestamptz
ORDER BY id;

-- name: facts
-- What is known of the users of a batch: addresses, choices, the suppressions of their addresses
-- (of the request's own address where it brought one), and their devices where something is to be pushed ($4).
SELECT q.ord::int AS ord, u.id IS NOT NULL AS known, u.email, u.phone, u.locale, u.timezone,
       (SELECT array_agg(ARRAY[p.category, p.channel, p.allowed::text]) FROM preferences p
        WHERE p.tenant = q.tenant AND p.user_id = q.user_id) AS choices,
       (SELECT array_agg(ARRAY[s.channel, s.scope, s.reason]) FROM suppressions s
        WHERE s.tenant = q.tenant AND s.channel = 'email' AND s.address = lower(coalesce(q.email, u.email) COLLATE "C")
          AND (s.expires_at IS NULL OR s.expires_at > now())) AS suppressed,
       CASE WHEN $4::bool THEN (
           SELECT array_agg(ARRAY[v.id, v.kind, v.app, v.platform, v.account,
                                  (v.disabled_at IS NOT NULL OR coalesce(v.expires_at <= now(), false))::text,
                                  extract(epoch FROM now() - v.seen_at)::text] ORDER BY v.id)
           FROM devices v WHERE v.tenant = q.tenant AND v.user_id = q.user_id
       ) END AS devices
FROM unnest($1::int[], $2::text[], $3::text[]) WITH ORDINALITY AS q (tenant, user_id, email, ord)
LEFT JOIN users u ON u.tenant = q.tenant AND u.id = q.user_id;

-- name: planned_before
-- Users of these notifications that another part of the same audience has already reached.
SELECT q.ord::int AS ord
FROM unnest($1::int[], $2::uuid[], $3::text[]) WITH ORDINALITY AS q (tenant, notification, user_id, ord)
WHERE EXISTS (SELECT 1 FROM deliveries d
              WHERE d.tenant = q.tenant AND d.notification = q.notification AND d.user_id = q.user_id);

-- name: count_up
-- The next revisions of each user's inbox; rows are taken in order, so that two planners can't deadlock. ``now`` is what
-- the items get as created_at, ``epoch`` that of ``inbox.sql``.
INSERT INTO inboxes AS i (tenant, user_id, revision, unread, unseen)
SELECT tenant, user_id, n, n, n FROM unnest($1::int[], $2::text[], $3::int[]) AS q (tenant, user_id, n)
ORDER BY tenant, user_id
ON CONFLICT (tenant, user_id) DO UPDATE
SET revision = i.revision + excluded.revision, unread = i.unread + excluded.unread, unseen = i.unseen + excluded.unseen
RETURNING tenant, user_id, revision, unread, unseen, now(),
          (SELECT epoch::text || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM installation) AS epoch;

-- name: write_plan
-- Everything a plan decided: deliveries, inbox items, ready and timed work. What many deliveries have in common is
-- given once; each names its kind ($6) by its place in those arrays. The line is 1 for ready, 2 for timed.
WITH d AS MATERIALIZED (
    SELECT id, notification, user_id, target, expires_at, kind, ($7::int[])[kind] AS tenant,
           ($8::smallint[])[kind] AS lane, ($9::text[])[kind] AS bulkhead, ($10::smallint[])[kind] AS bucket,
           ($11::float8[])[kind] AS delay, ($12::smallint[])[kind] AS line
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::int[])
         AS q (id, notification, user_id, target, expires_at, kind)
), planned AS (
    INSERT INTO deliveries (tenant, id, notification, user_id, channel, target, state, reason, category, class, locale,
                            lane, bulkhead, unless, resend, due_at, expires_at, settled_at, decision)
    SELECT tenant, id, notification, user_id, ($13::text[])[kind], target, ($14::text[])[kind], ($15::text[])[kind],
           ($16::text[])[kind], ($17::text[])[kind], ($18::text[])[kind], lane, bulkhead, ($19::smallint[])[kind],
           ($20::bool[])[kind], CASE WHEN delay > 0 THEN now() + delay * interval '1 second' END, expires_at,
           CASE WHEN ($21::bool[])[kind] THEN now() END, ($22::text[])[kind]
    FROM d
), items AS (
    INSERT INTO inbox_items (tenant, user_id, id, revision, born, notification, type, content, watched)
    SELECT tenant, user_id, id, revision, revision, notification, type, content, watched
    FROM unnest($23::int[], $24::text[], $25::uuid[], $26::bigint[], $27::uuid[], $28::text[], $29::text[], $30::bool[])
         AS i (tenant, user_id, id, revision, notification, type, content, watched)
), queued AS (
    INSERT INTO ready (lane, bulkhead, bucket, tenant, delivery, n)
    SELECT lane, bulkhead, bucket, tenant, id, 1 FROM d WHERE line = 1
)
INSERT INTO timers (bulkhead, due_at, lane, bucket, tenant, delivery, n)
SELECT bulkhead, now() + coalesce(delay, 0) * interval '1 second', lane, bucket, tenant, id, 1 FROM d WHERE line = 2;

-- name: park_work
-- Plan work that has crashed its planner too often: out of the way, visible, and redriven by hand.
WITH gone AS (
    DELETE FROM plan_work WHERE id = ANY ($1::bigint[]) AND boot = $2::int
    RETURNING tenant, notification, lane, audience, topic, after, upto, recipients
)
INSERT INTO dead_plans (tenant, notification, lane, audience, topic, after, upto, recipients, reason)
SELECT gone.*, $3::text FROM gone RETURNING notification;

-- name: missing_items
-- Which of these deliveries have no inbox item yet, and whose they are.
SELECT q.ord::int AS ord, d.tenant, d.user_id, d.id, d.notification, n.type
FROM unnest($1::int[], $2::uuid[]) WITH ORDINALITY AS q (tenant, delivery, ord)
JOIN deliveries d ON d.tenant = q.tenant AND d.id = q.delivery
JOIN notifications n ON n.tenant = d.tenant AND n.id = d.notification
WHERE NOT EXISTS (SELECT 1 FROM inbox_items i WHERE i.tenant = d.tenant AND i.user_id = d.user_id AND i.id = d.id);

-- name: add_items
-- Inbox items of later steps.
INSERT INTO inbox_items (tenant, user_id, id, revision, born, notification, type, content, watched)
SELECT tenant, user_id, id, revision, revision, notification, type, content, watched
FROM unnest($1::int[], $2::text[], $3::uuid[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::bool[])
     AS i (tenant, user_id, id, revision, notification, type, content, watched);
