"""Bodies and answers of the HTTP contract."""
