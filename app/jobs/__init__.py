"""Long work outlives pages and app: `control.Jobs` queues it, `runner` does it, `watchdog` looks after both.

May import: app.access, app.core.
"""
