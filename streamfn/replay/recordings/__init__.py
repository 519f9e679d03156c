"""Recording files: JSON lines and Avro containers, written whole or not at all, read with checks.

Records come from a log in replay order and go to a file, or from a file to a replay. Invariant:
what is yielded is what was written; damage is an error that names its place.
"""
