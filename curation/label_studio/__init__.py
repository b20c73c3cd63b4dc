"""Keep a data set and its Label Studio project in sync, and take its decisions as edits.

May import: curation.files, curation.versions.
"""
