-- Choices and the record of them. Each statement writes both, so that no change is without its line, and no line
-- without a change: whoever repeats what holds already changes nothing.

-- name: choose
-- Write choices as the user or the caller made them. One that says the same in another's name is taken over by that
-- one, so that a link can't take back what its user has since said elsewhere.
WITH changed AS (
    INSERT INTO preferences AS p (tenant, user_id, category, channel, allowed, source)
    SELECT $1::int, $2::text, c.category, c.channel, c.allowed, $6::text
    FROM unnest($3::text[], $4::text[], $5::bool[]) AS c (category, channel, allowed)
    ORDER BY c.category, c.channel
    ON CONFLICT (tenant, user_id, category, channel) DO UPDATE
    SET allowed = excluded.allowed, source = excluded.source, replaced = NULL, changed_at = now()
    WHERE (p.allowed, p.source) <> (excluded.allowed, excluded.source)
    RETURNING category, channel, allowed
)
INSERT INTO consents (tenant, user_id, category, channel, allowed, source, evidence, agent)
SELECT $1, $2, category, channel, allowed, $6, $7::text, $8::text FROM changed ORDER BY category, channel;

-- name: forget_others
-- Take back all choices of a user but these.
WITH gone AS (
    DELETE FROM preferences p
    WHERE p.tenant = $1::int AND p.user_id = $2::text AND NOT EXISTS (
        SELECT FROM unnest($3::text[], $4::text[]) AS c (category, channel)
        WHERE c.category = p.category AND c.channel = p.channel)
    RETURNING category, channel
)
INSERT INTO consents (tenant, user_id, category, channel, allowed, source, evidence, agent)
SELECT $1, $2, category, channel, NULL, $5::text, $6::text, $7::text FROM gone ORDER BY category, channel;

-- name: refuse
-- A "no" by a link. It remembers what it stands in the place of; one that is there already stays whose it is.
WITH changed AS (
    INSERT INTO preferences AS p (tenant, user_id, category, channel, allowed, source)
    SELECT $1::int, $2::text, c.category, c.channel, false, 'link'
    FROM unnest($3::text[], $4::text[]) AS c (category, channel)
    ORDER BY c.category, c.channel
    ON CONFLICT (tenant, user_id, category, channel) DO UPDATE
    SET allowed = false, source = 'link', replaced = true, changed_at = now()
    WHERE p.allowed
    RETURNING category, channel
)
INSERT INTO consents (tenant, user_id, category, channel, allowed, source, evidence, agent)
SELECT $1, $2, category, channel, false, 'link', $5::text, $6::text FROM changed ORDER BY category, channel;

-- name: restore
-- Take back what links refused: what they replaced holds again, and where that was nothing, nothing does.
WITH own AS (
    SELECT p.category, p.channel, p.replaced
    FROM preferences p JOIN unnest($3::text[], $4::text[]) AS c (category, channel) USING (category, channel)
    WHERE p.tenant = $1::int AND p.user_id = $2::text AND p.source = 'link' AND NOT p.allowed
    ORDER BY p.category, p.channel
    FOR UPDATE OF p
), back AS (
    UPDATE preferences p SET allowed = own.replaced, replaced = NULL, changed_at = now()
    FROM own
    WHERE p.tenant = $1 AND p.user_id = $2 AND p.category = own.category AND p.channel = own.channel
      AND own.replaced IS NOT NULL
), gone AS (
    DELETE FROM preferences p USING own
    WHERE p.tenant = $1 AND p.user_id = $2 AND p.category = own.category AND p.channel = own.channel
      AND own.replaced IS NULL
)
INSERT INTO consents (tenant, user_id, category, channel, allowed, source, evidence, agent)
SELECT $1, $2, category, channel, replaced, 'link', $5::text, $6::text FROM own ORDER BY category, channel;

-- name: told
-- What users told a vendor, one line for each event.
INSERT INTO consents (tenant, user_id, category, channel, allowed, source, evidence, at)
SELECT tenant, user_id, category, channel, allowed, 'vendor', evidence, at
FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::text[], $7::timestamptz[])
     AS q (tenant, user_id, category, channel, allowed, evidence, at);

-- name: chosen
-- The choices of a user, with what links replaced.
SELECT category, channel, allowed, source, replaced FROM preferences
WHERE tenant = $1::int AND user_id = $2::text ORDER BY category, channel;

-- name: locale
-- The language to speak to a user in: his own, or that of the message that he answers.
SELECT coalesce(
    (SELECT locale FROM users WHERE tenant = $1::int AND id = $2::text),
    (SELECT locale FROM deliveries WHERE tenant = $1 AND id = $3::uuid));

-- name: page
-- A page of a user's record, newest first.
SELECT id, category, channel, allowed, source, evidence, agent, at FROM consents
WHERE tenant = $1::int AND user_id = $2::text AND id < $3::bigint ORDER BY id DESC LIMIT $4::int;
