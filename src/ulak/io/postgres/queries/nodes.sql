-- name: boot
-- A node starts: its boot number marks what it holds.
INSERT INTO boots (node, roles) VALUES ($1::text, $2::text[]) RETURNING boot;

-- name: beat
-- Still here; returns the versions of what is cached, so that a node learns of a change by its heartbeat.
WITH beat AS (UPDATE boots SET seen_at = now() WHERE boot = $1::int)
SELECT name, version FROM changes;

-- name: stop
-- A node ends in an orderly way.
UPDATE boots SET stopped_at = now() WHERE boot = $1::int;

-- name: alive
-- Nodes that beat in the last seconds.
SELECT boot, node FROM boots WHERE stopped_at IS NULL AND seen_at > now() - $1::float8 * interval '1 second';
