"""Import pictures into a data set.

May import: curation.files, curation.sample.
"""
