-- name: refresh
-- The same address under the same device: it lives, says its app. Nothing ends, so nothing is held. Where the app does
-- not say, Apple's environment and a subscription's account stay as they were found to be.
UPDATE devices
SET platform = $7::text, p256dh = $8::text, auth = $9::text,
    account = CASE WHEN $11::bool THEN $10::text ELSE account END,
    environment = coalesce($12::text, environment), flipped = false,
    app_version = $13::text, model = $14::text, expires_at = $15::timestamptz,
    registered_at = now(), seen_at = now(),
    strikes = CASE WHEN disabled_at IS NULL THEN strikes ELSE 0 END,
    disabled_at = NULL, disabled_why = NULL, disabled_by = NULL, evidence = NULL, dead_since = NULL
WHERE tenant = $1::int AND user_id = $2::text AND app = $3::text AND name = $4::text
  AND kind = $5::text AND digest = $6::bytea
RETURNING id, user_id, name, app, kind, platform, environment, app_version, model, created_at, registered_at, seen_at,
    expires_at, disabled_at, disabled_why, disabled_by, evidence, substring(digest FOR 4) AS short;

-- name: hold
-- Let nobody else register the same address, or for the same user, until the end of the transaction: rows that are not
-- there yet can't be locked. In the order of the keys, so that two who want the same never wait for one another.
SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS q (key);

-- name: standing
-- The user's devices, and the one that has the address, held in the order of their ids as results of attempts do.
SELECT id, user_id AS user, app, name, kind, digest, seen_at, created_at, environment, account, wait_until
FROM devices
WHERE tenant = $1::int AND (user_id = $2::text OR (kind = $3::text AND digest = $4::bytea))
ORDER BY id
FOR UPDATE;

-- name: drop
-- Devices whose binding ends, or is written anew.
DELETE FROM devices WHERE tenant = $1::int AND id = ANY ($2::text[]);

-- name: add
-- A device as it was just registered: nothing that was held against it counts any more.
INSERT INTO devices (tenant, id, user_id, name, app, kind, platform, address, digest, p256dh, auth, account,
    environment, app_version, model, expires_at, wait_until, created_at)
VALUES ($1::int, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text, $9::bytea, $10::text, $11::text,
    $12::text, $13::text, $14::text, $15::text, $16::timestamptz, $17::timestamptz, coalesce($18::timestamptz, now()))
RETURNING id, user_id, name, app, kind, platform, environment, app_version, model, created_at, registered_at, seen_at,
    expires_at, disabled_at, disabled_why, disabled_by, evidence, substring(digest FOR 4) AS short;

-- name: of_user
-- A user's devices without their addresses, those heard of last first; with a name those of this name, with an app
-- those of this app.
SELECT id, user_id, name, app, kind, platform, environment, app_version, model, created_at, registered_at, seen_at,
    expires_at, disabled_at, disabled_why, disabled_by, evidence, substring(digest FOR 4) AS short
FROM devices
WHERE tenant = $1::int AND user_id = $2::text AND ($3::text IS NULL OR name = $3) AND ($4::text IS NULL OR app = $4)
ORDER BY seen_at DESC, id;

-- name: remove
-- Log out: the user's devices of this name, in one app or in all; held in the order of their ids, as everywhere.
DELETE FROM devices WHERE tenant = $1::int AND id = ANY (ARRAY(
    SELECT id FROM devices
    WHERE tenant = $1 AND user_id = $2::text AND name = $3::text AND ($4::text IS NULL OR app = $4)
    ORDER BY id
    FOR UPDATE))
RETURNING id;

-- name: forget
-- Devices that nobody has heard of for too long, or that were dead for too long, a few thousand at a time. One that is
-- being registered at this moment is left alone. (An array: a subquery might be run anew for each row, and then its limit
-- is none.)
DELETE FROM devices WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM devices
    WHERE seen_at < now() - $1::interval OR disabled_at < now() - $2::interval
    LIMIT $3::int
    FOR UPDATE SKIP LOCKED));
