"""The Train page: a form that becomes a job, runs with their curves and alerts, checkpoints to promote.

May import: app.access, app.core, app.jobs, app.services, app.ui.
"""
