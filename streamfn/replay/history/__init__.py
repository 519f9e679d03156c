"""The history of one key: each call of a stage for it, kept during a replay and run again alone.

Calls come from a watched replay and go to the debugger of the command line. Invariant: a watched
replay gives the answers of an unwatched one.
"""
