"""Freeze data sets into versions that never change.

May import: curation.files.
"""
