"""Answer the Annotate page: check settings, plan, queue jobs, try one picture, list results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from app.access.accounts import Person
from app.access.permissions import check_model, check_server
from app.annotate.form import AnnotateForm
from app.core.data_uri import file_to_save
from app.core.page_values import chosen_dataset
from app.core.uploads import read_picture
from app.jobs.control import NewJob
from app.jobs.devices import CPU, GPU
from app.jobs.imports import ANNOTATIONS, IMPORT, IMPORTS
from app.services import Services
from curation.annotate.describe import DescribeConfig
from curation.annotate.localize import LocalizeConfig
from curation.annotate.messages import PreviewedRequest
from curation.annotate.plan import AnnotationPlan, plan, works_in
from curation.annotate.registry import DESCRIBERS, LOCALIZERS, DescriberChoice, LocalizerChoice, facts_of, uses_of
from curation.annotate.sample_annotators import ROW, SampleConfig
from curation.annotate.servers import add_server
from curation.annotate.settings import AnnotateConfig, command_line
from curation.annotate.stage_run import StageConfig
from curation.annotate.trial import PictureTrial, try_picture
from curation.files.images import open_image
from curation.ingest.left_out import MOST_FILES, left_out_csv
from db.engine import reading
from db.models import Image as Picture
from db.models import RegionRow
from db.queries.data_set_queries import RefusalCount, get_dataset, get_image, image_page, refusals_by_reason
from db.queries.dataset_removal_queries import jobs_of_dataset
from db.queries.job_queries import IN_PROGRESS
from db.queries.region_queries import regions_of
from db.queries.stage_result_queries import stage_result_page
from grain.hub.weights import SPREAD, check_weights_read
from user_errors import UserError

KINDS = ("annotate", "compare-prompts", IMPORT, ANNOTATIONS)  # of jobs that the page shows
PAGE = 12  # results of one page
REASONS, EXAMPLES = 20, 50  # of files that were left out: reasons, and files of each
MOST_PICTURES = 10**12  # no data set has more; a database takes no number of any size


@dataclass(frozen=True)
class ResultView:
    """An annotated picture with its regions."""

    image: Picture
    regions: Sequence[RegionRow]


def config_of(services: Services, form: AnnotateForm, person: Person) -> AnnotateConfig:
    """Return the settings of a run.

    Raises: UserError: one of them is wrong, or names a path or a server that the person may not name.
            WeightsUnreadError: a model's folder is read for the first time; nobody waits for that here.
    """
    chosen_dataset(form.dataset)
    try:
        describer, localizer = _describer_of(services, form, person), _localizer_of(services, form, person)
        return AnnotateConfig(
            form.dataset,
            describer,
            localizer,
            SampleConfig(wrong=form.wrong, shifted=form.shifted),
            batch=max(StageConfig().batch, describer.batch, localizer.batch),  # a call has no more than a claim
        )
    except UserError:  # of a kind of its own, perhaps
        raise
    except ValueError as error:
        raise UserError(str(error)) from error


def left_out(services: Services, dataset: str) -> tuple[list[RefusalCount], int]:
    """Return the files that imports left out of a data set, by reason, and how many there are in all."""
    with reading(services.engine) as session:
        found = get_dataset(session, name=dataset)
        if found is None:
            return [], 0
        return refusals_by_reason(session, dataset_id=found.id, most=REASONS, examples=EXAMPLES)


def left_out_file(services: Services, dataset: str) -> dict[str, str]:
    """Return the list of all files that imports left out, as a CSV file for the page's script to save.

    Raises: UserError: no such data set.
    """
    content = left_out_csv(services.engine, dataset, most=MOST_FILES).encode()
    return file_to_save("left_out.csv", "text/csv", content)


def _describer_of(services: Services, form: AnnotateForm, person: Person) -> DescriberChoice:
    """Return what describes (see config_of)."""
    uses = uses_of(DESCRIBERS, form.describer)
    values: dict[str, Any] = {"kind": form.describer} | _levers(form, uses)
    if form.describer_model.strip():
        values["model"] = form.describer_model.strip()
        _check_weights(services, person, values["model"], uses=uses)
    if "server" in uses:
        check_server(services.settings.home, person, values["server"])
    if "vocabulary" in uses:
        values["vocabulary"] = tuple(name.strip() for name in form.vocabulary.splitlines() if name.strip())
    ask = DescribeConfig(prompts=form.prompts, stage2_tokens=integer_field(form.tokens, "tokens"))
    return DescriberChoice(**values, ask=ask)


def _localizer_of(services: Services, form: AnnotateForm, person: Person) -> LocalizerChoice:
    """Return what finds boxes (see config_of)."""
    uses = uses_of(LOCALIZERS, form.localizer)
    values: dict[str, Any] = {"kind": form.localizer} | _levers(form, uses)
    if values.get("precision") == "4bit":
        values["precision"] = "auto"  # that is the describer's
    if form.localizer_model.strip():
        values["model"] = form.localizer_model.strip()
        if facts_of(LOCALIZERS, form.localizer).checkpoints:
            values["model"] = str(services.registry.find(values["model"]).folder)
        else:
            _check_weights(services, person, values["model"], uses=uses)
    if "server" in uses:
        check_server(services.settings.home, person, values["server"])
    boxes = LocalizeConfig(
        threshold=form.threshold,
        most_of_text=integer_field(form.most_of_text, "most_of_text"),
        exclusive="vocabulary" in uses_of(DESCRIBERS, form.describer),
    )
    return LocalizerChoice(**values, boxes=boxes)


def _levers(form: AnnotateForm, uses: frozenset[str]) -> dict[str, Any]:
    """Return the settings of the form that an annotator reads, by their names; others keep their default."""
    values: dict[str, Any] = {
        "server": form.server.strip(),
        "precision": form.precision,
        "attention": form.attention,
        "device_map": form.device_map,
        "convention": form.convention,
        "timeout_seconds": float(form.timeout_seconds),
        **{name: integer_field(getattr(form, name), name) for name in ("batch", "concurrency", "picture_side")},
    }
    return {name: value for name, value in values.items() if name in uses}


def integer_field(value: Any, name: str) -> int:
    """Return a field's number.

    Raises: UserError: it is no whole one.
    """
    if not isinstance(value, int | float) or not float(value).is_integer():
        raise UserError(f"Expected a whole number for {name}, got {value}: correct it.")
    return int(value)


def _check_weights(services: Services, person: Person, model: str, *, uses: frozenset[str]) -> None:
    """Check that a person may name a model, and that it can be named at once; a server's is only a name."""
    if "server" in uses:
        return
    check_model(services.settings.home, person.role, model)
    if "model" in uses:
        check_weights_read(model)


def plan_of(services: Services, config: AnnotateConfig) -> AnnotationPlan:
    """Return what is done and what is left.

    Raises: UserError: weights are missing, or there is no such data set.
    """
    return plan(services.engine, config)


def start(services: Services, config: AnnotateConfig, owner: str) -> int:
    """Queue a run, after the imports of its data set that are under way; return the id of its job.

    Where none is, the same run is queued once: asked for again, it is the one that is under way.

    Raises: UserError: it could not begin.
    """
    plan_of(services, config)  # what is missing is refused now, not by a job that fails
    keep_server(services, config.describer.server, config.localizer.server)
    device, width = slots_of(services.jobs.slots, config.describer, config.localizer)
    with reading(services.engine) as session:
        waiting = jobs_of_dataset(session, name=config.dataset)
    brings = [job.id for job in waiting if job.kind in IMPORTS and job.state in IN_PROGRESS]
    argv = command_line(config)
    return services.jobs.submit(
        NewJob(
            kind="annotate",
            owner=owner,
            config=config,
            argv=argv,
            device=device,
            width=width,
            after=brings,
            once=not brings,
        )
    )


def slots_of(slots: Mapping[str, int], *choices: DescriberChoice | LocalizerChoice) -> tuple[str, int]:
    """Return the device of a job of these annotators, and how many of its slots it takes.

    A GPU, where there is one, for weights that are loaded here; all of its kind for a model that is spread over them.
    """
    on_gpu = [choice for choice in choices if "precision" in choice.row.uses] if slots.get(GPU) else []
    spread = any("device_map" in choice.row.uses and choice.device_map == SPREAD for choice in on_gpu)
    return (GPU, slots[GPU] if spread else 1) if on_gpu else (CPU, 1)


def try_one(
    services: Services, config: AnnotateConfig, *, upload: str | None, number: int
) -> tuple[Image.Image, PictureTrial]:
    """Run all stages on an uploaded picture, or on one of the data set by its number from 1.

    Raises: UserError: there is no such picture, it cannot be read, or an annotator cannot work.
    """
    try:
        image = _one_picture(services, config, upload=upload, number=number)
        keep_server(services, config.describer.server, config.localizer.server)
        with services.model_turn:
            return image, try_picture(config, services.annotators(config), image)
    except ValueError as error:
        raise UserError(str(error)) from error


def preview_messages(
    services: Services, config: AnnotateConfig, *, upload: str | None, number: int
) -> list[PreviewedRequest]:
    """Return the requests that the describer would be sent about a picture (see try_one); nothing is sent.

    Raises: UserError: there is no such picture, weights are missing, or the describer asks no question.
    """
    row = config.describer.row
    spec = row.spec(config.describer, config.sample) if row.spec else None
    if spec is None or spec.preview is None:
        raise UserError(f"“{row.label}” asks no question, so there is no message: choose a model or a server.")
    try:
        return spec.preview(_one_picture(services, config, upload=upload, number=number))
    except ValueError as error:
        raise UserError(str(error)) from error


def results(services: Services, config: AnnotateConfig, after: int = 0) -> list[ResultView]:
    """Return a page of annotated pictures of the settings' own recipe, the last pictures first.

    Args:   after: id of the last picture of the page before.
    Raises: UserError: weights are missing, so that the recipe is not known.
    """
    with reading(services.engine) as session:
        dataset = get_dataset(session, name=config.dataset)
    if dataset is None:
        return []
    last = works_in(services.engine, dataset.id, config)[-1]
    with reading(services.engine) as session:
        page = stage_result_page(
            session,
            dataset_id=dataset.id,
            recipe=last.recipe,
            state="done",
            after=after,
            backwards=True,  # a run goes through the pictures in their order: what it has just done is seen
            limit=PAGE,
        )
        ids = [result.image_id for result in page]
        regions = regions_of(session, image_ids=ids, recipe=last.recipe)
        images = [get_image(session, image_id=number) for number in ids]
        return [ResultView(image, regions.get(image.id, [])) for image in images if image is not None]


def keep_server(services: Services, *servers: str) -> None:
    """Keep the servers that a person named, so that they are offered from now on; "" is none."""
    for server in filter(None, servers):
        add_server(services.settings.home, server)


def _one_picture(services: Services, config: AnnotateConfig, *, upload: str | None, number: int) -> Image.Image:
    return read_picture(upload, services.settings.limits) if upload else _picture(services, config, number)


def _picture(services: Services, config: AnnotateConfig, number: int) -> Image.Image:
    if not 1 <= number <= MOST_PICTURES:
        raise UserError(f"Expected the number of a picture, 1 or more, got {number:,}: choose another one.")
    with reading(services.engine) as session:
        dataset = get_dataset(session, name=config.dataset)
        first = image_page(session, dataset_id=dataset.id, limit=1) if dataset else []
        # counted from the first one's id, so that the millionth costs no more; where imports ran at once, one nearby
        rows = [
            row
            for each in first
            for row in image_page(session, dataset_id=each.dataset_id, after=each.id + number - 2, limit=1)
        ]
    if not rows:
        raise UserError(f"The data set has no picture number {number}: choose a smaller one.")
    [row] = rows
    image = open_image(row)
    image.info[ROW] = row
    return image
