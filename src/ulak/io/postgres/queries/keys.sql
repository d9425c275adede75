-- name: version
-- Moves whenever a key was made or revoked.
SELECT version FROM changes WHERE name = 'api_keys';

-- name: find
-- Whose key this is and what it may do, as long as it holds.
SELECT tenant, prefix, scopes, expires_at
FROM api_keys
WHERE key_hash = $1::bytea AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- name: create
-- Store a key by its hash.
INSERT INTO api_keys (key_hash, tenant, name, prefix, scopes, expires_at)
VALUES ($1::bytea, $2::int, $3::text, $4::text, $5::text[], $6::timestamptz);

-- name: list
-- A tenant's keys, as far as people may see them.
SELECT name, prefix, scopes, created_at, expires_at, revoked_at
FROM api_keys
WHERE tenant = $1::int
ORDER BY created_at, prefix;

-- name: revoke
-- End a key, known by its prefix.
UPDATE api_keys SET revoked_at = now()
WHERE tenant = $1::int AND prefix = $2::text AND revoked_at IS NULL
RETURNING name;

-- name: bump
-- Tell every node that keys have changed.
INSERT INTO changes (name, version) VALUES ('api_keys', 1)
ON CONFLICT (name) DO UPDATE SET version = changes.version + 1;

-- name: token_keys
-- The secrets that sign and check users' tokens; a tenant's newest comes first, and signs.
SELECT tenant, kid, secret FROM token_keys ORDER BY tenant, created_at DESC, kid DESC;

-- name: add_token_key
-- Add a secret; unless it is to replace others, only where there is none yet.
INSERT INTO token_keys (tenant, kid, secret)
SELECT $1::int, $2::text, $3::bytea
WHERE $4::bool OR NOT EXISTS (SELECT FROM token_keys WHERE tenant = $1::int);
