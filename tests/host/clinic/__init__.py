"""A small project that Labrelay plugs into: what docs/migration.md says, and nothing more."""
