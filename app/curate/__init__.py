"""The Curate page: gallery, review queue, region editor and embedding map.

May import: app.access, app.core, app.jobs, app.services, app.ui.
"""
