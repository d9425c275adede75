-- name: current
-- The catalogue in force of each tenant.
SELECT DISTINCT ON (tenant) tenant, version, digest, content FROM catalogs ORDER BY tenant, version DESC;

-- name: one
-- One version, for what was accepted under it.
SELECT content FROM catalogs WHERE tenant = $1::int AND version = $2::int;

-- name: newest
-- The newest version of a tenant; read under the tenant's row lock when applying.
SELECT version, digest FROM catalogs WHERE tenant = $1::int ORDER BY version DESC LIMIT 1;

-- name: hold_tenant
-- One apply at a time.
SELECT tenant FROM tenants WHERE tenant = $1::int FOR UPDATE;

-- name: add
-- A new version.
INSERT INTO catalogs (tenant, version, digest, content) VALUES ($1::int, $2::int, $3::text, $4::text);

-- name: bump
-- Every node reads the catalogues again.
UPDATE changes SET version = version + 1 WHERE name = 'catalogs';
