"""What every page stands on: settings, checkpoints, uploads, images, and links to the Ground page.

May import: nothing else of the room.
"""
