"""Embed pictures and regions to find similar ones, score them, and draw the map.

May import: curation.files.
"""
