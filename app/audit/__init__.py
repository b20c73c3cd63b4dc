"""The Audit page: claims that images do not support, and people's verdicts on them.

May import: app.access, app.core, app.jobs, app.services, app.ui.
"""
