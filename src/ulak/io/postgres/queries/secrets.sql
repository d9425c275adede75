-- name: held
-- The secrets of a purpose, oldest first; the last one signs.
SELECT kid, secret FROM installation_secrets WHERE purpose = $1::text ORDER BY kid;

-- name: rotate
-- Add a secret where there is none yet, or the newest is older than this many seconds; of several nodes that try at
-- once, one wins. Those before are retired: they sign nothing more.
WITH newest AS (
    SELECT max(kid) AS kid, max(created_at) AS created_at FROM installation_secrets WHERE purpose = $1::text
), added AS (
    INSERT INTO installation_secrets (purpose, kid, secret)
    SELECT $1::text, coalesce(newest.kid, 0) + 1, $2::bytea
    FROM newest
    WHERE newest.kid IS NULL OR newest.created_at < now() - $3::float8 * interval '1 second'
    ON CONFLICT DO NOTHING
    RETURNING kid
), retired AS (
    UPDATE installation_secrets SET retired_at = now()
    WHERE purpose = $1::text AND retired_at IS NULL AND EXISTS (SELECT FROM added)
)
SELECT kid FROM added;

-- name: bump
-- Every node reads the secrets again.
UPDATE changes SET version = version + 1 WHERE name = 'secrets';

-- name: delete
-- Forget secrets that were retired so many seconds ago that nothing they signed can hold.
DELETE FROM installation_secrets
WHERE purpose = $1::text AND retired_at < now() - $2::float8 * interval '1 second';
