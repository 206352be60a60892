"""Replay: files in long form through the same monitor as the worker's.

In the order of the data:

tables    a Parquet or CSV file becomes Arrow batches, its columns checked
columns   a batch's columns become arrays; an error names file, row and column
pieces    the arrays of adjacent rows
layouts   a run's layout so far, and its values laid out by it
records   rows become step records
clock     the records' own time, for what only time can tell
run       the records through the monitor
"""
