"""Migrations of the store, in order; each can be applied to SQLite and to PostgreSQL."""
