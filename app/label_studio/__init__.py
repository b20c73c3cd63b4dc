"""Label Studio beside the app: its section of Curate, our annotators as its backend, its own server.

May import: app.access, app.core, app.jobs, app.services, app.ui.
"""
