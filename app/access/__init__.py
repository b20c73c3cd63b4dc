"""Accounts, sign-in, and the rule for every route and event.

May import: app.core.
"""
