-- name: epoch
-- Changes when revisions may have gone back: a reset raises the number, a fail-over the timeline of PostgreSQL.
SELECT epoch::text || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM installation;

-- name: pages
-- What changed in each inbox after a revision, with counts and epoch, in one snapshot. One row too many tells of more.
SELECT q.ord::int AS ord, q.since, coalesce(b.revision, 0) AS top, coalesce(b.oldest, 0) AS oldest,
       coalesce(b.unread, 0) AS unread, coalesce(b.unseen, 0) AS unseen, e.epoch,
       i.id, i.revision, i.born, i.notification, i.type, i.content, i.created_at, i.seen_at, i.read_at, i.archived_at,
       i.removed_at IS NOT NULL AS removed
FROM unnest($1::int[], $2::text[], $3::bigint[]) WITH ORDINALITY AS q (tenant, user_id, since, ord)
CROSS JOIN (
    SELECT epoch::text || '-' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS epoch FROM installation
) AS e
LEFT JOIN inboxes b ON b.tenant = q.tenant AND b.user_id = q.user_id
LEFT JOIN LATERAL (
    SELECT * FROM inbox_items i
    WHERE i.tenant = q.tenant AND i.user_id = q.user_id AND i.revision > q.since
    ORDER BY i.revision LIMIT $4::int + 1
) AS i ON true
ORDER BY q.ord, i.revision;

-- name: moved
-- Which inboxes are no longer at the revision that is known of them.
SELECT b.tenant, b.user_id, b.revision
FROM unnest($1::int[], $2::text[], $3::bigint[]) AS q (tenant, user_id, known)
JOIN inboxes b ON b.tenant = q.tenant AND b.user_id = q.user_id AND b.revision <> q.known;

-- name: look
-- The newest revision, and whether marking these items may forbid a later step, so that the gate has to be taken.
SELECT b.revision, EXISTS (
    SELECT 1 FROM inbox_items i
    WHERE i.tenant = b.tenant AND i.user_id = b.user_id AND i.watched AND i.removed_at IS NULL
      AND ($3::uuid[] IS NULL OR i.id = ANY ($3)) AND ($4::bigint IS NULL OR i.born <= $4)
) AS watched
FROM inboxes b WHERE b.tenant = $1::int AND b.user_id = $2::text;

-- name: lock
-- The user's counter row: whoever changes his inbox or its times holds it. Rows in order, so that none wait in a ring.
SELECT b.tenant, b.user_id, b.revision
FROM unnest($1::int[], $2::text[]) AS q (tenant, user_id)
JOIN inboxes b ON b.tenant = q.tenant AND b.user_id = q.user_id
ORDER BY q.tenant, q.user_id
FOR UPDATE OF b;

-- name: change
-- What the user did: the next revision for each item that it changes, counts from the same row, marks that stop
-- later steps, the delivery's times and state, and the receipts. Archiving includes having seen, not having read.
-- $3 the operation, $4 ids or null, $5 a revision or null, $6 the marks that the operation implies.
WITH chosen AS (
    SELECT id, notification, watched, delivered_at IS NULL AS undelivered, seen_at IS NULL AS unseen,
           read_at IS NULL AS unread, archived_at IS NULL AS open, row_number() OVER (ORDER BY born) AS n
    FROM inbox_items
    WHERE tenant = $1::int AND user_id = $2::text AND removed_at IS NULL
      AND ($4::uuid[] IS NULL OR id = ANY ($4)) AND ($5::bigint IS NULL OR born <= $5)
      AND CASE $3::text WHEN 'seen' THEN seen_at WHEN 'read' THEN read_at ELSE archived_at END IS NULL
), sums AS (
    SELECT count(*) AS n, count(*) FILTER (WHERE open AND unseen) AS unseen,
           count(*) FILTER (WHERE open AND unread AND $3 <> 'seen') AS unread
    FROM chosen
), counter AS (
    UPDATE inboxes b
    SET revision = b.revision + s.n, unread = b.unread - s.unread::int, unseen = b.unseen - s.unseen::int
    FROM sums s WHERE b.tenant = $1 AND b.user_id = $2 AND s.n > 0
    RETURNING b.revision, b.revision - s.n AS base
), items AS (
    UPDATE inbox_items i
    SET revision = counter.base + c.n, delivered_at = coalesce(i.delivered_at, now()),
        seen_at = coalesce(i.seen_at, now()),
        read_at = CASE WHEN $3 = 'read' THEN coalesce(i.read_at, now()) ELSE i.read_at END,
        archived_at = CASE WHEN $3 = 'archive' THEN coalesce(i.archived_at, now()) ELSE i.archived_at END
    FROM chosen c, counter WHERE i.tenant = $1 AND i.user_id = $2 AND i.id = c.id
), marks AS (
    INSERT INTO markers AS m (tenant, notification, user_id, mask)
    SELECT DISTINCT $1, notification, $2, $6::smallint FROM chosen WHERE watched
    ON CONFLICT (tenant, notification, user_id) DO UPDATE SET mask = m.mask | excluded.mask, at = now()
    WHERE m.mask | excluded.mask <> m.mask
), record AS (
    UPDATE deliveries d
    SET state = CASE WHEN d.state = 'bounced' THEN d.state ELSE 'delivered' END,
        reason = CASE WHEN d.state = 'bounced' THEN d.reason END,
        settled_at = coalesce(d.settled_at, now()), delivered_at = coalesce(d.delivered_at, now()),
        seen_at = coalesce(d.seen_at, now()),
        read_at = CASE WHEN $3 = 'read' THEN coalesce(d.read_at, now()) ELSE d.read_at END,
        archived_at = CASE WHEN $3 = 'archive' THEN coalesce(d.archived_at, now()) ELSE d.archived_at END
    FROM chosen c WHERE d.tenant = $1 AND d.id = c.id
), told AS (
    INSERT INTO receipts (tenant, delivery, kind, source)
    SELECT $1, c.id, k.kind, 'client'
    FROM chosen c
    CROSS JOIN LATERAL (VALUES (1, 'delivered', c.undelivered), (2, 'seen', c.unseen), (3, 'read', $3 = 'read'),
                               (4, 'archived', $3 = 'archive')) AS k (rank, kind, new)
    WHERE k.new ORDER BY c.n, k.rank
)
SELECT revision FROM counter;

-- name: acks_watched
-- Whether these acks of active devices stop a later step, so that the gate has to be taken.
SELECT EXISTS (
    SELECT 1
    FROM unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[], $5::bool[]) AS q (tenant, user_id, after, upto, active)
    JOIN inbox_items i ON i.tenant = q.tenant AND i.user_id = q.user_id AND i.revision > q.after AND i.revision <= q.upto
    LEFT JOIN markers m ON m.tenant = i.tenant AND m.notification = i.notification AND m.user_id = i.user_id
    WHERE q.active AND i.watched AND i.removed_at IS NULL AND coalesce(m.mask, 0) & 1 = 0
);

-- name: acked
-- What arrived on a device. An item that was never marked still has the revision at which it was sent, and marking
-- includes delivery, so a range of revisions finds all that are new. Only an active device stops later steps.
WITH asked AS (
    SELECT * FROM unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[], $5::bool[])
        AS q (tenant, user_id, after, upto, active)
), items AS (
    UPDATE inbox_items i SET delivered_at = now()
    FROM (SELECT DISTINCT tenant, user_id, after, upto FROM asked) AS q
    WHERE i.tenant = q.tenant AND i.user_id = q.user_id AND i.revision > q.after AND i.revision <= q.upto
      AND i.delivered_at IS NULL AND i.removed_at IS NULL
    RETURNING i.tenant, i.id
), marks AS (
    INSERT INTO markers AS m (tenant, notification, user_id, mask)
    SELECT DISTINCT i.tenant, i.notification, i.user_id, 1
    FROM asked q
    JOIN inbox_items i ON i.tenant = q.tenant AND i.user_id = q.user_id AND i.revision > q.after AND i.revision <= q.upto
    WHERE q.active AND i.watched AND i.removed_at IS NULL
    ON CONFLICT (tenant, notification, user_id) DO UPDATE SET mask = m.mask | 1, at = now() WHERE m.mask & 1 = 0
), record AS (
    UPDATE deliveries d
    SET state = CASE WHEN d.state = 'bounced' THEN d.state ELSE 'delivered' END,
        reason = CASE WHEN d.state = 'bounced' THEN d.reason END,
        settled_at = coalesce(d.settled_at, now()), delivered_at = coalesce(d.delivered_at, now())
    FROM items i WHERE d.tenant = i.tenant AND d.id = i.id
)
INSERT INTO receipts (tenant, delivery, kind, source) SELECT tenant, id, 'delivered', 'client' FROM items
RETURNING delivery;
