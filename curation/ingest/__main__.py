"""Run `python -m curation.ingest`."""

from curation.ingest.ingest import command

if __name__ == "__main__":
    command()
