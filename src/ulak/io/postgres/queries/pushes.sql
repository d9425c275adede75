-- name: standing
-- The pushes that apps speak of, held until they are changed, with the device as it is now; in order, so that two nodes
-- can't deadlock. Nobody hears anything of those who were erased: their deliveries name no device any more.
SELECT d.tenant, d.id, d.notification, d.user_id, d.state, d.reason, d.attempts, d.settled_at, d.planned_at,
       d.delivered_at, d.seen_at, d.clicked_at,
       coalesce((SELECT a.account FROM attempts a WHERE a.tenant = d.tenant AND a.delivery = d.id ORDER BY a.n DESC LIMIT 1),
                split_part(d.bulkhead, '/', 2)) AS account,
       coalesce(v.app, '') AS app, coalesce(v.platform, '') AS platform, coalesce(v.app_version, '') AS app_version
FROM deliveries d LEFT JOIN devices v ON v.tenant = d.tenant AND v.id = d.target
WHERE (d.tenant, d.id) IN (SELECT tenant, delivery FROM unnest($1::int[], $2::uuid[]) AS q (tenant, delivery))
  AND d.channel = 'push' AND starts_with(d.target, 'dev_')
ORDER BY d.tenant, d.id
FOR NO KEY UPDATE OF d;

-- name: said
-- What apps have said of these deliveries before. Read after they are held, so that two who say the same at once are
-- heard once.
SELECT r.tenant, r.delivery, r.kind
FROM unnest($1::int[], $2::uuid[]) AS q (tenant, delivery)
JOIN receipts r ON r.tenant = q.tenant AND r.delivery = q.delivery
WHERE r.source = 'app';

-- name: write
-- What apps said: the deliveries' new states ($1–$8), receipts ($9–$12), and marks for steps that wait for them
-- ($13–$16).
WITH folded AS (
    UPDATE deliveries d
    SET state = q.state, reason = q.reason, settled_at = q.settled_at, delivered_at = q.delivered_at,
        seen_at = q.seen_at, clicked_at = q.clicked_at
    FROM unnest($1::int[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],
                $8::timestamptz[])
         AS q (tenant, id, state, reason, settled_at, delivered_at, seen_at, clicked_at)
    WHERE d.tenant = q.tenant AND d.id = q.id
), told AS (
    INSERT INTO receipts (tenant, delivery, kind, source, at)
    SELECT tenant, delivery, kind, 'app', at
    FROM unnest($9::int[], $10::uuid[], $11::text[], $12::timestamptz[]) AS q (tenant, delivery, kind, at)
)
INSERT INTO markers AS m (tenant, notification, user_id, mask)
SELECT q.tenant, q.notification, q.user_id, bit_or(q.mask)
FROM unnest($13::int[], $14::uuid[], $15::text[], $16::smallint[]) AS q (tenant, notification, user_id, mask)
-- Compared as rows for the sake of the index, as in callbacks.sql.
WHERE EXISTS (SELECT FROM deliveries o WHERE o.tenant = q.tenant AND o.unless & q.mask <> 0
              AND (o.notification, o.user_id) >= (q.notification, q.user_id)
              AND (o.notification, o.user_id) <= (q.notification, q.user_id))
GROUP BY q.tenant, q.notification, q.user_id
ORDER BY q.tenant, q.notification, q.user_id
ON CONFLICT (tenant, notification, user_id) DO UPDATE SET mask = m.mask | excluded.mask, at = now()
WHERE m.mask | excluded.mask <> m.mask;

-- name: items
-- The inbox items of the notifications that these pushes told of.
SELECT o.tenant, o.user_id, o.id
FROM unnest($1::int[], $2::uuid[]) AS q (tenant, delivery)
JOIN deliveries d ON d.tenant = q.tenant AND d.id = q.delivery AND d.channel = 'push' AND starts_with(d.target, 'dev_')
JOIN deliveries o ON o.tenant = d.tenant AND o.notification = d.notification AND o.user_id = d.user_id
                 AND o.channel = 'in_app' AND o.target = ''
ORDER BY o.tenant, o.user_id, o.id;
