"""PostgreSQL, store and queue: pool, migrations, named SQL, and the typed functions that run it."""
