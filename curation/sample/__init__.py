"""Draw the built-in data set, a made-up world whose boxes are exact.

May import: nothing else of the room.
"""
