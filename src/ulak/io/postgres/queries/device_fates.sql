-- name: change
-- What calls said of devices, for those that are still registered as the calls saw them: a registration since then
-- (or a removal, or a move to another user) wins. Rows are locked in order, so that two nodes can't deadlock.
-- A death that the service dates counts only if the device has not registered after it; $14 strikes are a death.
WITH held AS (
    SELECT v.tenant, v.id, q.flips AND NOT v.flipped AS flips, q.wait, q.account, q.why, q.evidence,
           least(CASE WHEN q.resets THEN 0 ELSE v.strikes END + q.struck, 32767) AS strikes,
           q.dies AND coalesce(q.dead_since >= v.registered_at, true) AS dies, q.dead_since
    FROM unnest($1::int[], $2::text[], $3::bytea[], $4::timestamptz[], $5::bool[], $6::int[], $7::bool[], $8::float8[],
                $9::bool[], $10::timestamptz[], $11::text[], $12::text[], $13::text[])
         AS q (tenant, id, digest, registered_at, resets, struck, flips, wait, dies, dead_since, account, why, evidence)
    JOIN devices v ON v.tenant = q.tenant AND v.id = q.id AND v.digest = q.digest AND v.registered_at = q.registered_at
    ORDER BY v.tenant, v.id FOR UPDATE OF v
), judged AS (
    SELECT *, dies OR strikes >= $14::int AS ends FROM held
)
UPDATE devices v
SET strikes = j.strikes,
    flipped = v.flipped OR j.flips,
    environment = CASE WHEN NOT j.flips THEN v.environment WHEN v.environment = 'sandbox' THEN 'production' ELSE 'sandbox' END,
    wait_until = greatest(v.wait_until, now() + j.wait * interval '1 second'),
    -- The first to say so is remembered.
    disabled_at = CASE WHEN j.ends THEN coalesce(v.disabled_at, now()) ELSE v.disabled_at END,
    disabled_why = CASE WHEN j.ends AND v.disabled_at IS NULL THEN j.why ELSE v.disabled_why END,
    disabled_by = CASE WHEN j.ends AND v.disabled_at IS NULL THEN j.account ELSE v.disabled_by END,
    evidence = CASE WHEN j.ends AND v.disabled_at IS NULL THEN j.evidence ELSE v.evidence END,
    dead_since = CASE WHEN j.dies THEN coalesce(j.dead_since, v.dead_since) ELSE v.dead_since END
FROM judged j WHERE v.tenant = j.tenant AND v.id = j.id;

-- name: restore
-- Devices, all or those of an app, that an account put into quarantine within the last $2 seconds live again: the
-- account was wrong. Not those whose death the service has dated: it knew them.
WITH held AS (
    SELECT tenant, id FROM devices
    WHERE disabled_by = $1::text AND disabled_at > now() - $2::float8 * interval '1 second' AND ($3::text IS NULL OR app = $3)
      AND dead_since IS NULL
    ORDER BY tenant, id FOR UPDATE
), back AS (
    UPDATE devices v SET disabled_at = NULL, disabled_why = NULL, disabled_by = NULL, evidence = NULL, strikes = 0
    FROM held h WHERE v.tenant = h.tenant AND v.id = h.id RETURNING 1
)
SELECT count(*)::int FROM back;
