"""A user's function: its signature, and what it asks for (Value, Map, Store, Context, Lookup)."""
