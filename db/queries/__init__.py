"""Queries of the database, by name, one file a subject. May import: db.models."""
