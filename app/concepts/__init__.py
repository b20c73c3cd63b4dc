"""The Novel concepts page: label a data set of things that no model has seen, step by step.

May import: app.access, app.core, app.jobs, app.services, app.ui.
"""
