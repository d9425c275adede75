-- name: due_bulkheads
-- The bulkheads that have due timers, by hopping from one to the next over the primary key.
WITH RECURSIVE hop AS (
    (SELECT bulkhead, due_at FROM timers ORDER BY bulkhead, due_at LIMIT 1)
    UNION ALL
    SELECT n.bulkhead, n.due_at FROM hop, LATERAL (
        SELECT bulkhead, due_at FROM timers WHERE bulkhead > hop.bulkhead ORDER BY bulkhead, due_at LIMIT 1) AS n
)
SELECT bulkhead FROM hop WHERE due_at <= now();

-- name: move_due
-- Move a bounded number of due timers of one bulkhead into the ready queue.
WITH due AS (
    SELECT ctid FROM timers WHERE bulkhead = $1::text AND due_at <= now()
    ORDER BY due_at, id LIMIT $2::int FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM timers WHERE ctid = ANY (ARRAY(SELECT ctid FROM due))
    RETURNING bulkhead, due_at, id, lane, bucket, tenant, delivery, n, crashes, verdict
)
INSERT INTO ready (lane, bulkhead, bucket, tenant, delivery, n, crashes, verdict)
SELECT lane, bulkhead, bucket, tenant, delivery, n, crashes, verdict FROM gone ORDER BY due_at, id
RETURNING lane;

-- name: depth
-- How many rows wait in a bulkhead, counted no further than the cap.
SELECT count(*)::int FROM (SELECT 1 FROM ready WHERE lane = $1::smallint AND bulkhead = $2::text LIMIT $3::int) AS counted;

-- name: stranded
-- Ready rows of a bulkhead that another one may take over, locked: none whose last call may have been taken, unless
-- it is to be settled without another call.
SELECT r.lane, r.bucket, r.seq, r.tenant, r.delivery
FROM unnest($2::smallint[]) AS l (lane)
CROSS JOIN LATERAL (
    SELECT r.lane, r.bucket, r.seq, r.tenant, r.delivery
    FROM ready r JOIN deliveries d ON d.tenant = r.tenant AND d.id = r.delivery
    WHERE r.lane = l.lane AND r.bulkhead = $1::text AND (r.verdict IS NOT NULL OR d.state <> 'unknown')
    ORDER BY r.bucket, r.seq LIMIT $3::int FOR UPDATE OF r SKIP LOCKED
) AS r
LIMIT $3;

-- name: divert
-- Move ready rows to the bulkheads of other accounts, at the end of their lines; the number of the try stays.
WITH gone AS (
    DELETE FROM ready r
    USING unnest($2::smallint[], $3::smallint[], $4::bigint[], $5::text[]) AS q (lane, bucket, seq, target)
    WHERE r.lane = q.lane AND r.bulkhead = $1::text AND r.bucket = q.bucket AND r.seq = q.seq
    RETURNING r.lane, q.target, r.bucket, r.seq, r.tenant, r.delivery, r.n, r.crashes, r.verdict
)
INSERT INTO ready (lane, bulkhead, bucket, tenant, delivery, n, crashes, verdict)
SELECT lane, target, bucket, tenant, delivery, n, crashes, verdict FROM gone ORDER BY seq
RETURNING lane, bulkhead;

-- name: redrive
-- Put parked deliveries back at the end of their queue, with the next attempt number; one that crashed nodes alone.
WITH chosen AS (
    SELECT tenant, delivery FROM dead
    WHERE tenant = $1::int AND ($2::uuid[] IS NULL OR delivery = ANY ($2)) AND ($3::text IS NULL OR reason = $3)
      AND ($4::text IS NULL OR split_part(bulkhead, '/', 1) = $4)
    ORDER BY tenant, delivery LIMIT $5::int FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM dead d USING chosen c WHERE d.tenant = c.tenant AND d.delivery = c.delivery
    RETURNING d.tenant, d.delivery, d.n, d.lane, d.bulkhead, d.reason
), revived AS (
    UPDATE deliveries d SET state = 'retrying', reason = 'redriven', settled_at = NULL, attempts = 0,
           expires_at = greatest(d.expires_at, now() + $6::float8 * interval '1 second')
    FROM gone g WHERE d.tenant = g.tenant AND d.id = g.delivery
), noted AS (
    INSERT INTO receipts (tenant, delivery, n, kind, source) SELECT tenant, delivery, n, 'redriven', 'api' FROM gone
), queued AS (
    INSERT INTO timers (bulkhead, due_at, lane, bucket, tenant, delivery, n)
    SELECT bulkhead, now(), lane % 10 + CASE WHEN reason = 'crashed' THEN 10 ELSE 0 END, tenant % 16, tenant, delivery,
           n + 1 FROM gone
)
SELECT delivery FROM gone;
