"""Train GRAIN with a query a token, on features of the `photo-names` checkpoint's networks, which stay as they are.

May import: grain.box_overlap, grain.checkpoint, grain.command, grain.data, grain.hardware, grain.photo,
grain.run_settings, grain.sentences, grain.structures.
"""
