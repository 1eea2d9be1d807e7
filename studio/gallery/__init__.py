"""The gallery: finished edits on disk, for days and across visits.

A result is in the gallery or not; running edits and the results of this visit do not belong here.
"""
