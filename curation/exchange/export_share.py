"""Say what an export takes of a data set or a version, and what its filter leaves out, before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from curation.exchange.export_config import ExportConfig
from curation.exchange.export_selection import novel_classes, select
from curation.files.records import STATUSES, Status
from curation.versions.state_file import FrozenState
from db.engine import Engine, reading
from db.queries.version_queries import count_exportable, count_verdicts


@dataclass(frozen=True)
class ExportShare:
    """The share of a data set that an export takes. verdicts: descriptions by verdict. statuses: those that go in.

    pictures: that go in, of `all_pictures`. holds: verdicts that a version has descriptions of; all for the
    present data set. settled: whether those go in whose class is settled, as of novel concepts.
    """

    verdicts: Mapping[Status, int]
    statuses: tuple[Status, ...]
    pictures: int
    all_pictures: int
    holds: tuple[Status, ...] = STATUSES
    settled: bool = False

    @property
    def descriptions(self) -> int:
        """Return how many descriptions go in."""
        return sum(count for status, count in self.verdicts.items() if status in self.statuses)

    def sentences(self) -> list[str]:
        """Return what goes in and what does not, for people."""
        total = sum(self.verdicts.values())
        left = [
            f"{count:,} {status}" for status, count in self.verdicts.items() if count and status not in self.statuses
        ]
        words = f"{self.descriptions:,} of {_things(total, 'description')}"
        found = [f"{words}: the others are left out by their verdict ({', '.join(left)})." if left else f"{words}."]
        if missing := [status for status in STATUSES if status not in self.holds]:
            found.append(f"The version holds no {' or '.join(missing)} descriptions.")
        more = self.all_pictures - self.pictures
        words = f"{self.pictures:,} of {_things(self.all_pictures, 'picture')}"
        has, is_ = ("has", "is") if more == 1 else ("have", "are")
        why = f"{has} no settled class" if self.settled else f"{has} no such description and {is_} not reviewed"
        found.append(f"{words}: {more:,} {why}." if more else f"{words}.")
        return found


def _things(count: int, name: str) -> str:
    return f"{count:,} {name}{'s' * (count != 1)}"


def export_share(engine: Engine, config: ExportConfig, *, dataset_id: int, frozen: FrozenState | None) -> ExportShare:
    """Count what an export takes, before its policy for audited claims.

    Args: frozen: the version that is exported; None for the present data set.
    """
    if frozen is not None:
        return _share_of_version(frozen, config)
    with reading(engine) as session:
        verdicts = count_verdicts(session, dataset_id=dataset_id)
        taken, pictures = count_exportable(session, dataset_id=dataset_id, statuses=config.statuses)
    taken = pictures if config.unreviewed else taken
    return ExportShare({status: verdicts.get(status, 0) for status in STATUSES}, config.statuses, taken, pictures)


def _share_of_version(frozen: FrozenState, config: ExportConfig) -> ExportShare:
    verdicts: Counter[Status] = Counter()
    taken, classes = 0, novel_classes(frozen.head, config)
    for record in frozen:
        verdicts.update(one.status for region in record.regions for one in region.descriptions)
        taken += select(record, config, classes) is not None
    counts = {status: verdicts[status] for status in STATUSES}
    return ExportShare(counts, config.statuses, taken, frozen.pictures, frozen.head.statuses, bool(classes))
