-- name: add
-- Forbid an address, or renew why it is forbidden.
INSERT INTO suppressions (tenant, channel, address, scope, reason, evidence, expires_at)
VALUES ($1::int, $2::text, $3::text, $4::text, $5::text, $6::text, $7::timestamptz)
ON CONFLICT (tenant, channel, address, scope) DO UPDATE
SET reason = excluded.reason, evidence = excluded.evidence, expires_at = excluded.expires_at, created_at = now()
RETURNING *;

-- name: add_many
-- Forbid many addresses, or renew why; each scope of one at most once.
INSERT INTO suppressions (tenant, channel, address, scope, reason, evidence, expires_at)
SELECT $1::int, channel, address, scope, reason, evidence, expires_at
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
     AS q (channel, address, scope, reason, evidence, expires_at)
ORDER BY channel, address, scope
ON CONFLICT (tenant, channel, address, scope) DO UPDATE
SET reason = excluded.reason, evidence = excluded.evidence, expires_at = excluded.expires_at, created_at = now();

-- name: remove
-- Allow an address again, in one scope or in all; what came back from there before counts no longer.
WITH forgiven AS (
    UPDATE reachability SET soft = '{}'
    WHERE tenant = $1::int AND channel = $2::text AND address = $3::text AND ($4::text IS NULL OR $4 = 'all')
)
DELETE FROM suppressions
WHERE tenant = $1::int AND channel = $2::text AND address = $3::text AND ($4::text IS NULL OR scope = $4)
RETURNING scope;

-- name: page
-- A page of suppressions that still hold, by channel, address and scope.
SELECT channel, address, scope, reason, evidence, source, created_at, expires_at
FROM suppressions
WHERE tenant = $1::int AND (channel, address, scope) > ($2::text COLLATE "C", $3::text COLLATE "C", $4::text COLLATE "C")
  AND ($5::text IS NULL OR channel = $5) AND ($6::text IS NULL OR reason = $6)
  AND ($8::text IS NULL OR scope = $8) AND ($9::text IS NULL OR address = $9)
  AND (expires_at IS NULL OR expires_at > now())
ORDER BY channel, address, scope
LIMIT $7::int;
