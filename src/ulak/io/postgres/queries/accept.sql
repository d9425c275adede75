-- name: accept
-- Store a group of requests, each with its idempotency record and its plan work, in one transaction.
-- Keys go in sorted, so that two groups with the same keys wait for one another instead of deadlocking;
-- a key that another transaction holds is waited for and then lost. Returns one row for each plan work
-- of the requests that are new; a request without a row is a repetition.
WITH asked AS (
    SELECT * FROM unnest(
        $1::int[], $2::uuid[], $3::bytea[], $4::bytea[], $5::text[], $6::int[], $7::smallint[], $8::int[],
        $9::float8[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::text[], $14::text[], $15::text[],
        $16::text[], $17::text[]
    ) AS a (tenant, id, key_hash, fingerprint, type, catalog, lane, recipients,
            life, expires_at, send_at, channels, actor, collapse_key, context, problems, data)
), won AS (
    INSERT INTO idempotency (tenant, key_hash, fingerprint, notification)
    SELECT tenant, key_hash, fingerprint, id FROM asked WHERE key_hash IS NOT NULL ORDER BY tenant, key_hash
    ON CONFLICT DO NOTHING
    RETURNING notification
), fresh AS (
    SELECT * FROM asked WHERE key_hash IS NULL OR id IN (SELECT notification FROM won)
), stored AS (
    INSERT INTO notifications (tenant, id, type, catalog, lane, recipients, expires_at, send_at, channels, actor,
                               collapse_key, context, problems, data)
    SELECT tenant, id, type, catalog, lane, recipients,
           coalesce(expires_at, greatest(send_at, now()) + life * interval '1 second'), send_at,
           string_to_array(channels, ','), actor, collapse_key, context, problems, data
    FROM fresh
), work AS (
    INSERT INTO plan_work (tenant, notification, lane, ready_at, boot, takes, audience, topic, recipients)
    SELECT f.tenant, f.id, f.lane,
           CASE WHEN f.send_at > now() THEN f.send_at
                WHEN w.mine THEN now() + $24::float8 * interval '1 second' ELSE now() END,
           CASE WHEN w.mine AND (f.send_at IS NULL OR f.send_at <= now()) THEN $23::int ELSE 0 END,
           CASE WHEN w.mine THEN 1 ELSE 0 END,
           w.audience, w.topic, w.recipients
    FROM unnest($18::uuid[], $19::text[], $20::text[], $21::text[], $22::bool[])
         WITH ORDINALITY AS w (notification, audience, topic, recipients, mine, ord)
    JOIN fresh f ON f.id = w.notification
    ORDER BY w.ord
    RETURNING id, notification, boot
)
SELECT w.id, w.notification, w.boot, now() AS accepted_at,
       coalesce(f.expires_at, greatest(f.send_at, now()) + f.life * interval '1 second') AS expires_at
FROM work w JOIN fresh f ON f.id = w.notification
ORDER BY w.id;

-- name: repeated
-- What the earlier requests with these keys became.
SELECT q.ord::int AS ord, i.fingerprint, i.notification, n.recipients, n.problems
FROM unnest($1::int[], $2::bytea[]) WITH ORDINALITY AS q (tenant, key_hash, ord)
JOIN idempotency i ON i.tenant = q.tenant AND i.key_hash = q.key_hash
JOIN notifications n ON n.tenant = i.tenant AND n.id = i.notification;

-- name: forget_keys
-- Idempotency records live for 7 days; a bounded number of older ones goes.
DELETE FROM idempotency WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency WHERE created_at < now() - interval '7 days' LIMIT 5000));
