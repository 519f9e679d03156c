"""Recorded topics and reruns: record, replay, compare.

Records come from a log's topics or a recording file, run through the engine apart from everything
that is in production, and end as captured effects. Invariant: nothing here writes to a topic,
commits a position or joins a group.
"""
