"""The parts that pages are made of: templates, drawing, events, fields, lists of jobs, style.

May import: app.access, app.core, app.jobs, app.services.
"""
