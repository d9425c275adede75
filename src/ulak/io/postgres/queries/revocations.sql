-- name: versions
-- The numbers of what nodes keep in memory.
SELECT name, version FROM changes;

-- name: position
-- How far the log has come: a token that is made now is not ended by anything up to here.
SELECT version FROM changes WHERE name = 'revocations';

-- name: add
-- Take back one token, or all that were made until now. The row lock of `changes` is taken first, so that ids
-- commit in order and the moment is one after every entry before.
WITH next AS (
    UPDATE changes SET version = version + 1 WHERE name = 'revocations' RETURNING version
)
INSERT INTO revocations (id, tenant, user_id, token_id, not_before, at, expires_at)
SELECT next.version, $1::int, $2::text, $3::text, clock_timestamp(), clock_timestamp(),
       clock_timestamp() + $4::float8 * interval '1 second'
FROM next
RETURNING id, tenant, user_id, token_id, extract(epoch FROM not_before)::float8 AS not_before,
          extract(epoch FROM expires_at)::float8 AS expires_at;

-- name: since
-- What was taken back after this entry and still matters, in order.
SELECT id, tenant, user_id, token_id, extract(epoch FROM not_before)::float8 AS not_before,
       extract(epoch FROM expires_at)::float8 AS expires_at
FROM revocations
WHERE id > $1::bigint AND expires_at > now()
ORDER BY id;

-- name: purge
-- Delete entries that can concern no token any more, some at a time.
DELETE FROM revocations
WHERE id IN (SELECT id FROM revocations WHERE expires_at < now() ORDER BY expires_at LIMIT $1::int);
