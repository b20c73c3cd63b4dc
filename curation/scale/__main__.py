"""Run the command `python -m curation.scale`."""

from curation.scale.scale import command

if __name__ == "__main__":
    command()
