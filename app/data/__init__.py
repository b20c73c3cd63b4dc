"""The Data page: data sets, frozen versions, import and export.

May import: app.access, app.core, app.jobs, app.services, app.ui.
"""
