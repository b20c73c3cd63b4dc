"""Review many regions at once: acts with one undo, restored versions, and what counts as a copy of a picture.

May import: curation.files, curation.versions.
"""
