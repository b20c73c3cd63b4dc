"""Run `python -m curation.concepts`."""

from curation.concepts.concepts import command

if __name__ == "__main__":
    command()
