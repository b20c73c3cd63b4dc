"""The Evaluate page: models and data sets in, tables with intervals and plots out.

May import: app.access, app.core, app.jobs, app.services, app.ui.
"""
