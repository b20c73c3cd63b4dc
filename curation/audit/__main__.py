"""Run `python -m curation.audit`."""

from curation.audit.audit import command

if __name__ == "__main__":
    command()
