"""Build data sets of novel concepts, and check them for leaks from training data.

May import: curation.audit, curation.exchange, curation.files, curation.ingest, curation.versions.
"""
