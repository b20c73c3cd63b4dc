"""The pages, one a file: what is on it, and the handlers of its events."""
