"""Long work outlives pages and app: `control.Jobs` queues it, `runner` does it, here or on a cluster.

May import: app.access, app.core.
"""
