"""A home with annotated pictures of the sample world, for tests of the Curate page in a browser."""

from __future__ import annotations

from pathlib import Path

from curation.annotate.annotate import annotate
from curation.annotate.registry import DescriberChoice, LocalizerChoice
from curation.annotate.settings import AnnotateConfig, AnnotatorFactory
from curation.ingest.ingest import ingest
from curation.sample.world import WorldConfig, write_world
from db.engine import open_engine, retrying
from db.queries.region_index_queries import index_regions


def review_home(home: Path, *, pictures: int) -> Path:
    """The folder, filled: a data set `drawn` whose regions nobody has judged."""
    engine = open_engine(f"sqlite:///{home / 'grain.sqlite'}")
    world = WorldConfig(out=home / "drawn", images=0, held_out_images=pictures, classes=1, novel_images_per_class=0)
    ingest(engine, write_world(world), dataset="drawn", home=home)
    config = AnnotateConfig("drawn", DescriberChoice("sample"), LocalizerChoice("sample"))
    annotate(engine, config, AnnotatorFactory.of(config), worker="w")
    while retrying(engine, lambda session: index_regions(session)):
        continue
    engine.dispose()
    return home
