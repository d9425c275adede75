-- name: notification
-- One notification of this tenant. It is planned when none of its plan work is left; the lane bounds
-- that look to one stretch of a table that is small by design.
SELECT n.id, n.type, n.lane, n.recipients, n.accepted_at, n.expires_at, n.send_at, n.cancelled_at, n.actor, n.problems,
       NOT EXISTS (SELECT FROM plan_work w
                   WHERE w.lane = n.lane AND w.tenant = n.tenant AND w.notification = n.id) AS planned
FROM notifications n
WHERE n.tenant = $1::int AND n.id = $2::uuid;

-- name: counts
-- How many deliveries of each notification stand in which state, by channel.
SELECT notification, channel, state, count(*)::int AS n
FROM deliveries
WHERE tenant = $1::int AND notification = ANY ($2::uuid[])
GROUP BY notification, channel, state
ORDER BY notification, channel, state;

-- name: notifications
-- A page of notifications, newest first; filters on deliveries ask whether there is such a one.
SELECT n.id, n.type, n.lane, n.recipients, n.accepted_at, n.expires_at, n.send_at, n.cancelled_at, n.actor, n.problems,
       NOT EXISTS (SELECT FROM plan_work w
                   WHERE w.lane = n.lane AND w.tenant = n.tenant AND w.notification = n.id) AS planned
FROM notifications n
WHERE n.tenant = $1::int AND n.id < $2::uuid AND n.id >= $3::uuid
  AND ($4::text IS NULL OR n.type = $4)
  AND (($5::text IS NULL AND $6::text IS NULL AND $7::text IS NULL AND $8::text IS NULL) OR EXISTS (
        SELECT FROM deliveries d
        WHERE d.tenant = n.tenant AND d.notification = n.id
          AND ($5::text IS NULL OR d.user_id = $5) AND ($6::text IS NULL OR d.state = $6)
          AND ($7::text IS NULL OR d.channel = $7) AND ($8::text IS NULL OR d.reason = $8)))
ORDER BY n.id DESC
LIMIT $9::int;

-- name: deliveries
-- A page of deliveries, newest first, over the primary key.
SELECT d.*, n.type
FROM deliveries d JOIN notifications n ON n.tenant = d.tenant AND n.id = d.notification
WHERE d.tenant = $1::int AND d.id < $2::uuid AND d.id >= $3::uuid
  AND ($4::text IS NULL OR n.type = $4) AND ($5::text IS NULL OR d.state = $5)
  AND ($6::text IS NULL OR d.channel = $6) AND ($7::text IS NULL OR d.reason = $7)
ORDER BY d.id DESC
LIMIT $8::int;

-- name: deliveries_of_user
-- The same for one user, over an index of its own.
SELECT d.*, n.type
FROM deliveries d JOIN notifications n ON n.tenant = d.tenant AND n.id = d.notification
WHERE d.tenant = $1::int AND d.id < $2::uuid AND d.id >= $3::uuid
  AND ($4::text IS NULL OR n.type = $4) AND ($5::text IS NULL OR d.state = $5)
  AND ($6::text IS NULL OR d.channel = $6) AND ($7::text IS NULL OR d.reason = $7)
  AND d.user_id = $9::text
ORDER BY d.id DESC
LIMIT $8::int;

-- name: deliveries_of_notification
-- The same for one notification, and for one user of it where asked.
SELECT d.*, n.type
FROM deliveries d JOIN notifications n ON n.tenant = d.tenant AND n.id = d.notification
WHERE d.tenant = $1::int AND d.id < $2::uuid AND d.id >= $3::uuid
  AND ($4::text IS NULL OR n.type = $4) AND ($5::text IS NULL OR d.state = $5)
  AND ($6::text IS NULL OR d.channel = $6) AND ($7::text IS NULL OR d.reason = $7)
  AND d.notification = $10::uuid AND ($9::text IS NULL OR d.user_id = $9)
ORDER BY d.id DESC
LIMIT $8::int;

-- name: delivery
-- One delivery of this tenant.
SELECT d.*, n.type
FROM deliveries d JOIN notifications n ON n.tenant = d.tenant AND n.id = d.notification
WHERE d.tenant = $1::int AND d.id = $2::uuid;

-- name: calls
-- Every attempt of these deliveries with its outcome, where there is one yet.
SELECT a.delivery, a.n, a.account, a.started_at, a.reconcile_at,
       o.kind, o.reason, o.blame, o.detail, o.vendor_id, o.retry_at, o.next_account, o.at
FROM attempts a LEFT JOIN outcomes o ON o.tenant = a.tenant AND o.delivery = a.delivery AND o.n = a.n
WHERE a.tenant = $1::int AND a.delivery = ANY ($2::uuid[])
ORDER BY a.delivery, a.n;

-- name: receipts
-- What was said of these deliveries later.
SELECT delivery, kind, source, at, n, detail
FROM receipts
WHERE tenant = $1::int AND delivery = ANY ($2::uuid[])
ORDER BY delivery, id;

-- name: dead
-- A page of parked deliveries, newest first.
SELECT x.delivery, x.n, x.reason, x.at, x.bulkhead, d.notification, d.user_id, d.channel, n.type
FROM dead x
JOIN deliveries d ON d.tenant = x.tenant AND d.id = x.delivery
JOIN notifications n ON n.tenant = d.tenant AND n.id = d.notification
WHERE x.tenant = $1::int AND x.delivery < $2::uuid
  AND ($3::text IS NULL OR d.channel = $3) AND ($4::text IS NULL OR x.reason = $4)
ORDER BY x.delivery DESC
LIMIT $5::int;

-- name: cancel
-- Mark a notification as cancelled, once; the time of the first cancel stays.
UPDATE notifications SET cancelled_at = coalesce(cancelled_at, now())
WHERE tenant = $1::int AND id = $2::uuid
RETURNING lane;

-- name: cancel_plan
-- Take away what is not planned yet; returns how many recipients that were (an audience counts as none).
WITH gone AS (
    DELETE FROM plan_work WHERE lane = $3::smallint AND tenant = $1::int AND notification = $2::uuid RETURNING recipients
)
SELECT coalesce(sum(json_array_length(recipients::json)), 0)::int AS n FROM gone;

-- name: cancel_counts
-- Which deliveries the cancel still stops (or a former one stopped), and for which it comes too late.
SELECT count(*) FILTER (WHERE state IN ('pending', 'held', 'retrying', 'cancelled'))::int AS cancelled,
       count(*) FILTER (WHERE state NOT IN ('pending', 'held', 'retrying', 'cancelled'))::int AS too_late
FROM deliveries
WHERE tenant = $1::int AND notification = $2::uuid;
