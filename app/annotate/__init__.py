"""The Annotate page: a data set and annotators in, a job and its results out.

May import: app.access, app.core, app.jobs, app.services, app.ui.
"""
