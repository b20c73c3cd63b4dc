"""Import pictures into a data set.

May import: curation.exchange, curation.files, curation.sample.
"""
