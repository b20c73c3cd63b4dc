"""Describe pictures, and find the boxes of the descriptions.

May import: curation.files, curation.sample.
"""
