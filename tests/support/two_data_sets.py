"""Two data sets with sources and a version of their own each, for tests of what changes with the data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.services import Services
from curation.versions.versions import freeze
from db.engine import retrying, transaction
from db.queries.region_index_queries import index_regions
from db.queries.region_queries import NewRegion, add_regions
from tests.support.curated import BOX, curated, ids_of
from tests.support.fake_app import fake_services
from tests.support.still_services import StillServices

ALPHA_SOURCE, BETA_SOURCE = "owlv2@1", "other@2"


def two_data_sets(folder: Path) -> Services:
    """Services with the data sets alpha and beta, whose versions are v1 both, and only-alpha."""
    services = fake_services(folder, StillServices)
    curated(services.engine, folder / "alpha", name="alpha")
    beta = curated(services.engine, folder / "beta", name="beta", described=False)
    with transaction(services.engine) as session:
        rows = [NewRegion(n, BOX, f"thing {n}", BETA_SOURCE, 0.4, "pending") for n in ids_of(session, beta)]
        add_regions(session, dataset_id=beta, rows=rows)
    while retrying(services.engine, index_regions):
        continue
    for dataset in ("alpha", "beta"):
        freeze(services.engine, services.settings.home, dataset=dataset, name="v1", who="ana")
    more: dict[str, Any] = {"name": "only-alpha", "who": "ana", "statuses": ("accepted", "pending")}
    freeze(services.engine, services.settings.home, dataset="alpha", **more)
    return services
