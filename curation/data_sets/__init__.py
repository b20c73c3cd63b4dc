"""Rename and delete data sets, after saying what depends on them.

May import: curation.audit, curation.exchange, curation.explore, curation.files, curation.ingest, curation.versions.
"""
