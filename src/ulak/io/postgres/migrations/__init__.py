"""Numbered plain-SQL migrations: ``NNNN_name.pre.sql`` before new code runs, ``.post.sql`` when no old code is left."""
