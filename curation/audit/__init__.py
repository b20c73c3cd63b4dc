"""Check which claims of descriptions their pictures support.

May import: curation.annotate, curation.files, curation.sample.
"""
