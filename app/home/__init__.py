"""The Home page: the road of a data set from its pictures to a trained model, and the next step.

May import: app.access, app.core, app.jobs, app.services, app.ui.
"""
