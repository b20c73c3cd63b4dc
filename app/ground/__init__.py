"""The Ground page: an image and descriptions in, regions and class scores out.

May import: app.access, app.core, app.jobs, app.services, app.ui.
"""
