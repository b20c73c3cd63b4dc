"""Turn the Train page's form into the settings and the command line of one training."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from app.access.permissions import check_open_clip, check_readable
from app.access.rules import Role
from app.core.page_values import check_names
from app.core.templates import things
from app.jobs.devices import CPU, GPU
from app.jobs.resources import FIELDS, ClusterResources, read_resources
from app.services import Services
from app.train.form import config_from
from app.train.written_data import learned_from, still_unreadable, unreadable_pictures
from curation.exchange.export import command_line as export_command
from curation.exchange.export_config import ExportConfig
from curation.exchange.training_census import trained_statuses
from curation.versions.state_file import peek_state
from curation.versions.versions import version_path
from db.engine import reading
from db.queries.data_set_queries import get_dataset, list_datasets
from db.queries.values import check_known, check_storable
from db.queries.version_queries import list_versions
from grain.checkpoint import EMBEDDED
from grain.command import command_line
from grain.train_config import MOST_WEIGHT, REGION_SETTINGS, TrainConfig, check_region_settings
from user_errors import UserError

WORLD, VERSION, SCRATCH, CHECKPOINT, OPEN_CLIP = "world", "version", "scratch", "checkpoint", "open_clip"
FOLDER = "folder"
WORLDS = (2_000, 20_000)  # pictures of the sample worlds that the page offers to draw
WORLD_PROPOSALS = 8  # boxes a picture of a sample world, where region queries start from some
HELD_OUT, MOST_HELD_OUT = 0.05, 0.5  # share of a version's pictures that is evaluated on
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
MOST_GPUS = 16  # of one node
MOST_PRIORITY = 1_000  # earlier or later than others
OWN_TRACKERS = ("none", "tensorboard")  # which write beside the run; others may use an account of the operator
CAPTIONS = ("picture", "written", "descriptions")


@dataclass(frozen=True)
class TrainRequest:
    """The form of the page. data, start: keys of `data_choices` and `start_choices`. fields: of TrainConfig.

    caption, unreviewed, held_out: of a version's export (see ExportConfig). cluster: see app.jobs.resources.FIELDS.
    mix, mix_weight: further data, "" for none, and their weight. zero_shot: a key of `zero_shot_choices`.
    """

    name: str
    data: str
    start: str
    open_clip: str
    where: str
    processes: int
    priority: int
    caption: str
    unreviewed: bool
    held_out: str
    mix: str
    mix_weight: str
    zero_shot: str
    zero_shot_folder: str
    cluster: Mapping[str, str]
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> TrainRequest:
        """Read what the browser's form holds.

        Raises: UserError: it is no form, or a whole number in it is none.
        """
        try:
            names = ("name", "data", "start", "open_clip", "mix", "mix_weight", "zero_shot", "zero_shot_folder")
            own = {name: str(values.get(name) or "").strip() for name in names}
            held_out = values.get("held_out")
            return cls(
                **own,
                where=str(values.get("where") or CPU),
                processes=_integer(values.get("processes"), "GPUs", empty=1),
                priority=_integer(values.get("priority"), "Priority", empty=0),
                caption=str(values.get("caption") or "picture"),
                unreviewed=values.get("unreviewed") is True,
                held_out=str(HELD_OUT if held_out in (None, "") else held_out).strip(),
                cluster={name: str(values.get(name) or "") for name in FIELDS},
                fields=dict(values.get("fields") or {}),
            )
        except UserError:
            raise
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise UserError("The form came damaged: reload the page.") from error

    @classmethod
    def of_program(cls, settings: Mapping[str, Any]) -> TrainRequest:
        """Read what a program sent.

        Raises: UserError: it is no form, or has a name that no form has.
        """
        check_names(settings, [*(each.name for each in fields(cls) if each.name != "cluster"), *FIELDS])
        return cls.read(settings)


@dataclass(frozen=True)
class PlannedData:
    """Data of a training.

    export: how a version becomes them; None for the sample world. words: what makes them. unreadable: reason ->
    pictures that an earlier export could not read; None where it was killed. unchanged: their files are as they were
    then. learned_from: a run that is not over reads what is there, so that nothing is written in its place.
    """

    folder: Path
    export: ExportConfig | None
    words: tuple[str, ...]
    unreadable: Mapping[str, int] | None = field(default_factory=dict)
    unchanged: bool = False
    learned_from: bool = False

    @property
    def written(self) -> bool:
        """Return whether they are there: pictures that could not be read once may be readable now."""
        usable = self.unreadable == {} or self.unchanged or self.learned_from
        return (self.folder / "manifest.json").is_file() and usable


@dataclass(frozen=True)
class TrainPlan:
    """A training as it would run.

    data: what it learns from, then what is mixed in. regions_only: of its start nothing but the regions is trained.
    """

    request: TrainRequest
    config: TrainConfig
    data: tuple[PlannedData, ...]
    argv: tuple[str, ...]
    resources: ClusterResources
    regions_only: bool = False

    @property
    def missing(self) -> tuple[PlannedData, ...]:
        """Return the data that jobs make first."""
        return tuple(each for each in self.data if not each.written)

    @property
    def command(self) -> str:
        """Return what runs, to be copied into a terminal."""
        launcher = self.resources.launcher(self.request.where)
        lines = [
            shlex.join([*before, "python", *words])
            for before, words in (*(([], each.words) for each in self.missing), (launcher, self.argv))
        ]
        return " && \\\n".join(lines)

    def snapshot(self) -> dict[str, Any]:
        """Return what the job keeps: the settings that run, and the form."""
        asked = {name: value for name, value in vars(self.request).items() if name not in ("fields", "cluster")}
        asked |= {**self.request.cluster, "resources": self.resources.to_json()}
        return {"train": json.loads(json.dumps(asdict(self.config), default=str)), "asked": asked}


def data_choices(services: Services) -> list[tuple[str, str]]:
    """Return the label and the key of every sample world and frozen version."""
    drawn = [int(folder.name) for folder in _worlds(services).glob("*") if folder.name.isdecimal()]
    found = [
        (f"sample world, {count:,} pictures{'' if count in drawn else ' (drawn first)'}", f"{WORLD}:{count}")
        for count in sorted({*drawn, *WORLDS})
    ]
    with reading(services.engine) as session:
        for dataset in list_datasets(session):
            for version in list_versions(session, dataset_id=dataset.id):
                holds = f"{things(version.pictures, 'picture')}, {things(version.regions, 'region')}"
                label = f"{dataset.name} · {version.name} ({holds})"
                found.append((label, f"{VERSION}:{version.sha256}"))
    return found


def newest_version(services: Services, dataset: str | None) -> str:
    """Return the key of a data set's latest version in `data_choices`; "" where it has none."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset or "")
        versions = list_versions(session, dataset_id=found.id) if found else ()
    return f"{VERSION}:{versions[0].sha256}" if versions else ""


def zero_shot_choices(services: Services) -> list[tuple[str, str]]:
    """Return the label and the key of what can be classified at each evaluation."""
    worlds = [(f"novel classes of {label}", key) for label, key in data_choices(services) if key in _drawn(services)]
    return [("none", ""), *worlds, ("a folder", FOLDER)]


def _drawn(services: Services) -> list[str]:
    return [f"{WORLD}:{int(folder.name)}" for folder in _worlds(services).glob("*") if folder.name.isdecimal()]


def start_choices(services: Services) -> list[tuple[str, str]]:
    """Return the label and the key of scratch, of every checkpoint to start from, and of open_clip's weights."""
    infos = {each.name: each.info for each in services.registry.usable() if each.info}
    checkpoints = [
        (f"checkpoint {name}{', its regions' * info.learned_regions}", f"{CHECKPOINT}:{name}")
        for name, info in infos.items()
        if info.trainable
    ]
    return [("scratch", SCRATCH), *checkpoints, ("open_clip weights", OPEN_CLIP)]


def region_starts(services: Services) -> list[str]:
    """Return the keys of the starts of which nothing but regions can be trained, as of `photo`."""
    return [
        f"{CHECKPOINT}:{each.name}" for each in services.registry.usable() if each.info and each.info.learned_regions
    ]


def where_choices(services: Services) -> list[tuple[str, str]]:
    """Return the label and the key of every place where jobs may run."""
    words = {CPU: "this machine, processors", GPU: "this machine, GPUs", "ray": "Ray cluster", "slurm": "Slurm"}
    return [(words.get(device, device), device) for device in services.jobs.slots]


def without_hidden_fields(services: Services, request: TrainRequest) -> TrainRequest:
    """Return a request of the page without settings that it hides: those that a training of regions alone has not."""
    if request.start not in region_starts(services):
        return request
    fields = {name: value for name, value in request.fields.items() if name in REGION_SETTINGS}
    return replace(request, fields=fields, mix="", zero_shot="")


def plan_run(services: Services, request: TrainRequest, role: Role) -> TrainPlan:
    """Return the very training that a form describes.

    Args:   role: of the person; only an admin names weights outside GRAIN_HOME, and trackers that may be elsewhere.
    Raises: UserError: one of its fields cannot be used.
    """
    for name, value in {**vars(request), **request.cluster}.items():
        if isinstance(value, str):
            check_storable(value, f"text for {name.replace('_', ' ')},")
    if not RUN_NAME.fullmatch(request.name):
        raise UserError("The run needs a name of letters, digits, dots, dashes and underlines: write one.")
    if request.where not in services.jobs.slots:
        raise UserError(f"There is no place {request.where[:40]!r} to run on: choose one of the list.")
    least, most = _gpus(services, request.where)
    if not least <= request.processes <= most:
        raise UserError(f"{request.processes} GPUs cannot be had at {request.where}: take {least} to {most}.")
    if abs(request.priority) > MOST_PRIORITY:
        expected = f"a whole number from -{MOST_PRIORITY:,} to {MOST_PRIORITY:,}"
        raise UserError(f"Priority: expected {expected}, got {request.priority}: correct it.")
    alone = request.start in region_starts(services)
    if alone and request.processes > 1:
        raise UserError(f"Regions are trained by one process, got {request.processes} GPUs: take one.")
    data = (data_of(services, request), *_mixed_in(services, request))
    config = config_from(
        request.fields,
        data=data[0].folder,
        out=services.settings.home / "runs" / request.name,
        init=_init(services, request, role),
        name=request.name,
        mix=tuple(f"{each.folder}={_mix_weight(request.mix_weight):g}" for each in data[1:]),
        zero_shot=_zero_shot(services, request, role),
    )
    if alone:
        check_region_settings(config)
    if config.tracker not in OWN_TRACKERS and role != "admin":
        raise UserError(
            f"Only an admin sends a run's numbers to {config.tracker}, in the operator's name: choose "
            f"{' or '.join(OWN_TRACKERS)}, or ask one."
        )
    kept = {name: getattr(services.settings, f"cluster_{name}") for name in FIELDS}
    resources = read_resources(request.cluster, kept, gpus=request.processes, workers=config.workers)
    argv = launch_words(request, config, "grain.train")
    return TrainPlan(request, config, data, argv, resources, regions_only=alone)


def launch_words(request: TrainRequest, config: TrainConfig, module: str) -> tuple[str, ...]:
    """Return `accelerate launch` with every option, so that no configuration file of a person changes the run."""
    launch = ["-m", "accelerate.commands.launch", f"--num_processes={max(1, request.processes)}"]
    launch += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    if request.where == CPU or not request.processes:
        launch += ["--cpu"]
    elif request.processes > 1:
        launch += ["--multi_gpu"]
    return (*launch, *command_line(config, module))


def _gpus(services: Services, where: str) -> tuple[int, int]:
    """Return the fewest and the most GPUs that a run may have in a place."""
    return {CPU: (0, 1), GPU: (1, services.jobs.slots.get(GPU, 0))}.get(where, (0, MOST_GPUS))


def data_of(services: Services, request: TrainRequest) -> PlannedData:
    """Return the data that a form chooses.

    Raises: UserError: there are no such data, or its settings cannot be used.
    """
    check_known(request.caption, CAPTIONS, "the caption")
    kind, _, key = request.data.partition(":")
    if kind == WORLD and key.isdecimal() and 0 < int(key) <= 10_000_000:
        proposing = request.fields.get("queries") == "proposals"
        folder = _worlds(services) / f"{int(key)}{'-proposals' * proposing}"
        words = ("-m", "curation.sample.world", f"--out={folder}", f"--images={int(key)}")
        return PlannedData(folder, None, (*words, *([f"--proposals={WORLD_PROPOSALS}"] * proposing)))
    if kind == VERSION and re.fullmatch(r"[0-9a-f]{64}", key):
        export = _export(services, request, key)
        unreadable = unreadable_pictures(services, export)
        unchanged = bool(unreadable) and still_unreadable(services, export)
        in_use = unreadable != {} and not unchanged and learned_from(services, export.out)
        return PlannedData(export.out, export, tuple(export_command(export)), unreadable, unchanged, in_use)
    raise UserError("Choose the data: a frozen version, or the sample world.")


def _mixed_in(services: Services, request: TrainRequest) -> list[PlannedData]:
    """Return the further data of a form.

    Raises: UserError: they are the data themselves, or there are none such.
    """
    if not request.mix:
        return []
    if request.mix == request.data:
        raise UserError("The data and what is mixed in are the same: choose others, or nothing.")
    return [data_of(services, replace(request, data=request.mix))]


def _integer(value: Any, label: str, *, empty: int) -> int:
    try:
        return int(empty if value in (None, "") else value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{label}: expected a whole number, got {str(value)[:20]!r}: correct it.") from error


def _mix_weight(text: str) -> float:
    try:
        weight = float(text or 1)
    except ValueError:
        weight = math.nan
    if not 0 < weight <= MOST_WEIGHT:  # nan neither
        expected = f"a number above 0, at most {MOST_WEIGHT:,g}"
        raise UserError(
            f"Weight of what is mixed in: expected {expected}, got {text[:20]!r}: write 2 for twice as often."
        )
    return weight


def _zero_shot(services: Services, request: TrainRequest, role: Role) -> str | None:
    """Return TrainConfig.zero_shot of a form.

    Raises: UserError: it is a folder that the person may not have read, or none is named.
    """
    kind, _, key = request.zero_shot.partition(":")
    if not kind:
        return None
    if kind == WORLD and key.isdecimal():
        return f"{_worlds(services) / str(int(key))}#novel"
    place, _, split = request.zero_shot_folder.partition("#")
    if kind != FOLDER or not place:
        raise UserError("Name the folder to classify, a folder of pictures for each class, or choose none.")
    check_readable(services.settings.home, role, place, str(Path(place) / split))
    return request.zero_shot_folder


def _export(services: Services, request: TrainRequest, sha256: str) -> ExportConfig:
    """Return the export of a version, of the verdicts that it holds, into a folder that other exports do not share."""
    head, _ = peek_state(version_path(services.settings.home, sha256))
    statuses = trained_statuses(head)
    held_out = _held_out(request.held_out)
    parts = [sha256[:16], request.caption, *(statuses if statuses != ("accepted",) else ())]
    parts += ["unreviewed"] * request.unreviewed + [f"held-out-{held_out:g}"] * (held_out != HELD_OUT)
    folder = services.settings.home / "shards" / "-".join(parts)
    return ExportConfig(
        "shards",
        folder,
        version=sha256,
        statuses=statuses,
        caption=cast(Literal["picture", "written", "descriptions"], request.caption),
        unreviewed=request.unreviewed,
        held_out=held_out,
    )


def _held_out(text: str) -> float:
    """Return the share of the pictures to hold out.

    Raises: UserError: it is none.
    """
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= MOST_HELD_OUT:  # nan neither
        expected = f"a share above 0, at most {MOST_HELD_OUT:g}"
        raise UserError(f"Held out: expected {expected}, got {text[:20]!r}: write 0.2 for a fifth of the pictures.")
    return share


def _worlds(services: Services) -> Path:
    return services.settings.home / "worlds"


def _init(services: Services, request: TrainRequest, role: Role) -> str | None:
    """Return TrainConfig.init of a start point."""
    kind, _, name = request.start.partition(":")
    if kind == SCRATCH:
        return None
    if kind == OPEN_CLIP:
        architecture, _, weights = request.open_clip.partition(":")
        check_open_clip(services.settings.home, role, name=architecture, weights=weights)
        if not re.fullmatch(r"[\w./:-]{1,300}", request.open_clip):
            raise UserError("Name the open_clip weights as ARCHITECTURE:TAG-OR-FILE, as in ViT-B-16:openai.")
        return f"open_clip:{request.open_clip}"
    folder = services.registry.find(name).folder
    return folder.name if folder == EMBEDDED / folder.name else str(folder)  # a name is the same on any machine
