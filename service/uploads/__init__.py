"""How measurements come in: received with their digests or registered in place, parsed in a sandbox, and checked."""
