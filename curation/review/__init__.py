"""Review many regions at once: acts with one undo, and what counts as a copy of a picture.

May import: nothing else of the room.
"""
