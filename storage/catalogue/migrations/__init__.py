"""How an older catalogue becomes a newer one: Alembic revisions, one a file, run by `storage.catalogue.schema.upgrade`.

A revision is never changed once released, so it names tables and columns itself instead of using those of the schema.
"""
