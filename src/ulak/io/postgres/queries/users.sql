-- name: put
-- Create a user or replace what is known of him.
INSERT INTO users (tenant, id, email, phone, locale, timezone, attributes)
VALUES ($1::int, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text)
ON CONFLICT (tenant, id) DO UPDATE
SET email = excluded.email, phone = excluded.phone, locale = excluded.locale, timezone = excluded.timezone,
    attributes = excluded.attributes, updated_at = now()
RETURNING *;

-- name: get
-- One user of this tenant.
SELECT * FROM users WHERE tenant = $1::int AND id = $2::text;

-- name: hold
-- The same, held until the end of the transaction, so that two merges don't lose one another's part.
SELECT * FROM users WHERE tenant = $1::int AND id = $2::text FOR UPDATE;

-- name: page
-- A page of users by id.
SELECT * FROM users WHERE tenant = $1::int AND id > $2::text ORDER BY id LIMIT $3::int;

-- name: delete
-- Erase, part 1: the user himself.
DELETE FROM users WHERE tenant = $1::int AND id = $2::text RETURNING id;

-- name: delete_preferences
-- Erase, part 2: what he chose, and the record of it.
WITH told AS (DELETE FROM consents WHERE tenant = $1::int AND user_id = $2::text)
DELETE FROM preferences WHERE tenant = $1::int AND user_id = $2::text;

-- name: delete_subscriptions
-- Erase, part 3: his memberships.
DELETE FROM subscriptions WHERE tenant = $1::int AND user_id = $2::text;

-- name: delete_inbox
-- Erase, part 4: what he was told.
DELETE FROM inbox_items WHERE tenant = $1::int AND user_id = $2::text;

-- name: empty_inbox
-- Erase, part 5: the counter goes on, and whoever resumes has to start anew and finds nothing.
UPDATE inboxes SET revision = revision + 1, oldest = revision + 1, unread = 0, unseen = 0
WHERE tenant = $1::int AND user_id = $2::text;

-- name: blank_deliveries
-- Erase, part 6: the record of what was done stays, without the address; what is still to be sent is not.
-- An address is replaced by the delivery's own id, because (notification, user, channel, target) is unique.
UPDATE deliveries
SET target = CASE WHEN target = '' THEN '' ELSE 'erased ' || id::text END,
    expires_at = CASE WHEN settled_at IS NULL THEN least(expires_at, now()) ELSE expires_at END
WHERE tenant = $1::int AND user_id = $2::text;

-- name: delete_devices
-- Erase, part 7: what he is pushed to (somebody who is not stored may have devices, too); held in the order of ids.
DELETE FROM devices WHERE tenant = $1::int AND id = ANY (ARRAY(
    SELECT id FROM devices WHERE tenant = $1 AND user_id = $2::text ORDER BY id FOR UPDATE))
RETURNING id;

-- name: preferences
-- The choices of a user.
SELECT category, channel, allowed, source, changed_at
FROM preferences
WHERE tenant = $1::int AND user_id = $2::text
ORDER BY category, channel;

-- name: zones
-- Time zones of these users, of any tenants; those who have none are left out.
SELECT u.tenant, u.id, u.timezone FROM unnest($1::int[], $2::text[]) AS q (tenant, id)
JOIN users u ON u.tenant = q.tenant AND u.id = q.id WHERE u.timezone IS NOT NULL;
