"""Streams, tables, groups, windows and joins: what a user writes, turned into a topology."""
