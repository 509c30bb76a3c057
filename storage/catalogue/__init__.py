"""What datasets and runs there are, and what happened to them: the database, its schema and its migrations."""
