"""Train GRAIN with a query a token, on features of the `photo-names` checkpoint's networks, which stay as they are.

May import: grain.checkpoint, grain.command, grain.data, grain.photo, grain.structures.
"""
