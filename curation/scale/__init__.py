"""Annotate and audit shards on a Ray cluster.

May import: curation.annotate, curation.audit, curation.files.
"""
