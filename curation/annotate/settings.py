"""Hold the settings of an annotation run, and make the annotators and the command line that they name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from curation.annotate.describe import Describer
from curation.annotate.localize import Localizer
from curation.annotate.registry import (
    DescriberChoice,
    LocalizerChoice,
    StageWork,
    make_describer,
    make_localizer,
    works_of,
)
from curation.annotate.sample_annotators import SampleConfig
from curation.annotate.stage_run import StageConfig
from grain.command import flags_of


@dataclass(frozen=True)
class AnnotateConfig(StageConfig):
    """Describe and localize every picture of a data set; run again, it resumes."""

    dataset: str
    """Its name; curation.ingest makes one."""
    describer: DescriberChoice = field(default_factory=DescriberChoice)
    localizer: LocalizerChoice = field(default_factory=LocalizerChoice)
    sample: SampleConfig = field(default_factory=SampleConfig)
    """How the sample world's annotators err."""

    def works(self) -> tuple[StageWork, ...]:
        """Return the stages in their order.

        Raises: UserError: weights are not on this machine.
        """
        return works_of(self.describer, self.localizer, self.sample)


@dataclass(frozen=True)
class AnnotatorFactory:
    """The annotators of a run; each is made when its stage begins, and only if there is something to do."""

    describer: Callable[[], Describer]
    localizer: Callable[[], Localizer]

    @classmethod
    def of(cls, config: AnnotateConfig) -> AnnotatorFactory:
        """Return the factory of the annotators that the settings name."""
        return cls(
            lambda: make_describer(config.describer, config.sample),
            lambda: make_localizer(config.localizer, config.sample),
        )


def command_line(config: AnnotateConfig) -> list[str]:
    """Return the words that run it from a terminal, after the name of Python: what differs from the defaults."""
    return ["-m", "curation.annotate", *flags_of(config)]
