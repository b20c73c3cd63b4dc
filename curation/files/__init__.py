"""Read untrusted pictures, archives and tables, and write picture records.

May import: nothing else of the room.
"""
