"""Comparisons: a replay beside the real run, or beside another version of the code.

Rows and entries of two sides come in, differences by stage, field and kind go out. Invariant: the
same two sides give the same comparison; what a program does differently each time is not blamed on
a version.
"""
