-- name: write
-- What a link of ours told of a delivery for the first time: its times and state, the receipt, and the mark for steps
-- that wait for it.
WITH folded AS (
    UPDATE deliveries d
    SET state = $3::text, reason = $4::text, settled_at = $5::timestamptz, delivered_at = $6::timestamptz,
        opened_at = $7::timestamptz, clicked_at = $8::timestamptz
    WHERE d.tenant = $1::int AND d.id = $2::uuid
), told AS (
    INSERT INTO receipts (tenant, delivery, kind, source) VALUES ($1, $2, $9::text, 'link')
)
INSERT INTO markers AS m (tenant, notification, user_id, mask)
SELECT $1, $10::uuid, $11::text, $12::smallint
WHERE EXISTS (SELECT FROM deliveries o WHERE o.tenant = $1 AND o.notification = $10 AND o.user_id = $11 AND o.unless & $12 <> 0)
ON CONFLICT (tenant, notification, user_id) DO UPDATE SET mask = m.mask | excluded.mask, at = now()
WHERE m.mask | excluded.mask <> m.mask;
