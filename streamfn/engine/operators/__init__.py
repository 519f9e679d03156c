"""The operators as they run, one file a family: each a small function over its task's stores."""
