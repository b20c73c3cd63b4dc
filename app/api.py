"""Offer the pages' actions to programs: one function an action, over gradio_client, HTTP or MCP.

Each docstring is what a caller reads; errors are the sentences that the pages show. Roles stand in app/access/rules.py.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.events import api as offer

from app.access.accounts import person_of
from app.core.page_values import MOST_IDS
from app.services import Services
from app.ui.api_calls import api_errors, checked, verdict_names

if TYPE_CHECKING:
    from db.models import Job

AT_ONCE: dict[str, Any] = {"concurrency_id": "api", "concurrency_limit": 4}
MOST_JOBS = 200  # of a page


class Api:
    """The actions."""

    def __init__(self, services: Services) -> None:
        """services: what they call."""
        self.services = services

    def data_sets(self) -> list[dict[str, Any]]:
        """List the data sets and what is in them.

        Returns:
            One object each: name, pictures, and the numbers of regions by source and verdict.
        """
        from app.data import actions as data_sets
        from app.ui import jobs_list

        with api_errors():
            found = {name: data_sets.overview(self.services, name) for name in jobs_list.dataset_names(self.services)}
        return [
            {"name": name, "pictures": each.pictures, "regions": [asdict(count) for count in each.counts]}
            for name, each in found.items()
        ]

    def annotation_plan(
        self,
        request: gr.Request,
        dataset: str,
        describer: str = "photo",
        localizer: str = "photo",
        threshold: float = 0.3,
        settings: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Plan an annotation: images done and left by stage, and the time left as far as it is known.

        Args:
            dataset: Name of the data set.
            describer: What describes: "photo" or "sample" (offline), "llava", "llava-onevision", "qwen2.5-vl",
                "qwen3-vl", "smolvlm", "server" or "vocabulary".
            localizer: What finds boxes: "photo" or "sample" (offline), "owlv2", "owlvit", "grounding-dino",
                "mm-grounding-dino", "vlm" or "vlm-server".
            threshold: Least score of a box, 0 to 1.
            settings: Any other field of the Annotate page by name, as {"server": "http://127.0.0.1:8000/v1"}:
                describer_model, localizer_model, server, vocabulary (class names, one a line), prompts, convention,
                precision, attention, device_map (texts); most_of_text, wrong, shifted, batch, concurrency,
                timeout_seconds, tokens, picture_side (numbers).

        Returns:
            One object: images, seconds, and stages, each with its work, counts (done, quarantined, failed), left and
            seconds.
        """
        from app.annotate import actions as annotate_actions

        with api_errors():
            named = {"dataset": dataset, "describer": describer, "localizer": localizer, "threshold": threshold}
            plan = annotate_actions.plan_of(self.services, self._annotators(request, named, settings))
            return {"images": plan.images, "seconds": plan.seconds, "stages": [asdict(each) for each in plan.stages]}

    def annotate(
        self,
        request: gr.Request,
        dataset: str,
        describer: str = "photo",
        localizer: str = "photo",
        threshold: float = 0.3,
        settings: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Describe every image of a data set and find the boxes, as a job that outlives the caller.

        Names are checked before it is queued: data set, kinds, settings, models and servers.

        Args:
            dataset: Name of the data set.
            describer: As of annotation_plan.
            localizer: As of annotation_plan.
            threshold: Least score of a box, 0 to 1.
            settings: As of annotation_plan.

        Returns:
            The job, as /job shows it.
        """
        from app.annotate import actions as annotate_actions

        with api_errors():
            named = {"dataset": dataset, "describer": describer, "localizer": localizer, "threshold": threshold}
            config = self._annotators(request, named, settings)
            return self._job(annotate_actions.start(self.services, config, person_of(request).name))

    def compare_prompts(
        self,
        request: gr.Request,
        dataset: str,
        describer: str = "photo",
        pictures: int = 50,
        auditor: str = "offline",
        claims: int = 20,
        settings: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Describe a sample of a data set with two-stage and with one-stage prompts and audit both, as a job.

        Args:
            dataset: Name of the data set; it stays as it is.
            describer: As of annotation_plan.
            pictures: Of the sample.
            auditor: "offline" (photo's networks, or the sample world's truth) or "owlv2".
            claims: Of each prompt's, drawn for people to judge.
            settings: As of annotation_plan.

        Returns:
            The job, as /job shows it.
        """
        from app.annotate import compare_actions

        with api_errors():
            named = {"dataset": dataset, "describer": describer}
            config = self._comparison(request, named, settings, pictures=pictures, auditor=auditor, claims=claims)
            return self._job(compare_actions.start(self.services, config, person_of(request).name))

    def prompt_comparison(
        self,
        request: gr.Request,
        dataset: str,
        describer: str = "photo",
        pictures: int = 50,
        auditor: str = "offline",
        settings: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Read a comparison of prompts that /compare_prompts has made.

        Args:
            dataset: As of compare_prompts.
            describer: As of annotation_plan.
            pictures: As of compare_prompts.
            auditor: As of compare_prompts.
            settings: As of annotation_plan.

        Returns:
            One object: sample (name of its data set), pictures, decided (whether the auditor gives a rate), doubts,
            same, difference (of the auditor's shares, with interval, or null), and results, one a prompt: claims by
            kind, descriptions, unsupported (share with interval, or null), people, seconds, tokens.
        """
        from app.annotate import compare_actions

        with api_errors():
            named = {"dataset": dataset, "describer": describer}
            config = self._comparison(request, named, settings, pictures=pictures, auditor=auditor, claims=0)
            found = compare_actions.comparison(self.services, config)
            if found is None:
                raise ValueError("These prompts are not compared yet: call /compare_prompts and wait for its job.")
        return {name: value for name, value in asdict(found).items() if name != "examples"}

    def regions(
        self,
        dataset: str,
        words: str = "",
        verdicts: str = "pending,accepted,rejected",
        source: str = "",
        order: str = "newest",
        after: str = "",
    ) -> dict[str, Any]:
        """List the regions of a data set, a page at a time.

        Args:
            dataset: Name of the data set.
            words: All of them stand in the description; "lid*" is a beginning.
            verdicts: Any of pending, accepted, rejected, deleted, with commas between.
            source: Only of this model@revision or human:name.
            order: "newest", "lowest_score", "disagreement" or "outliers".
            after: What the page before said under "after"; empty for the first.

        Returns:
            One object: regions (id, version, picture, xyxy in shares of the upright picture's sides, text, verdict,
            score, similarity, source) and after ("" when nothing follows).
        """
        from app.curate import actions as curate_actions
        from db.queries.curate_filter import CurateFilter

        with api_errors():
            filters = CurateFilter.from_values({"statuses": verdict_names(verdicts), "source": source, "words": words})
            query = curate_actions.CurateQuery(dataset=dataset, filters=filters, sort=order)
            found = curate_actions.gallery(self.services, query, after)
        names = ("id", "version", "text", "score", "similarity", "source")
        rows = [
            {name: getattr(row, name) for name in names}
            | {"picture": row.image_id, "xyxy": [row.x1, row.y1, row.x2, row.y2], "verdict": row.status}
            for row in (tile.region for tile in found.tiles)
        ]
        return {"regions": rows, "after": found.after}

    def decide(self, request: gr.Request, region: int, version: int, verdict: str) -> dict[str, Any]:
        """Accept, reject or reopen a region. Of two who decide at once, the second changes nothing: see conflict.

        Args:
            region: Its id.
            version: The version that was looked at, from /regions.
            verdict: "accepted", "rejected" or "pending".

        Returns:
            One object: region, and conflict: null, or, for an outdated version, that of now, by whom, and the region.
        """
        from app.curate import editor

        ask = {"do": "verdict", "id": region, "version": version, "status": verdict}
        with api_errors():
            done = editor.apply_edit(self.services, ask, who=person_of(request).name)
        clash = done.conflict
        conflict = {"version": clash.version, "by": clash.by, "present": clash.present} if clash else None
        return {"region": region, "conflict": conflict}

    def freeze(
        self, request: gr.Request, dataset: str, name: str, verdicts: str = "accepted", note: str = ""
    ) -> dict[str, Any]:
        """Freeze a data set as a version that never changes, as a job.

        Args:
            dataset: Name of the data set.
            name: Of the version.
            verdicts: Which descriptions it holds: any of pending, accepted, rejected, with commas between.
            note: What is to be remembered about it.

        Returns:
            The job, as /job shows it.
        """
        from app.data import actions as data_actions

        with api_errors():
            config = data_actions.freeze_config(
                dataset, name, note, statuses=verdict_names(verdicts), who=person_of(request).name
            )
            return self._job(data_actions.freeze(self.services, config))

    def audit(
        self, request: gr.Request, dataset: str, detector: str = "photo", checkpoint: str = "", vqa: str = "none"
    ) -> dict[str, Any]:
        """Check every claim of a data set's descriptions against its images, as a job.

        Args:
            dataset: Name of the data set.
            detector: "photo" or "sample" (offline), "owlv2" or "none".
            checkpoint: A GRAIN checkpoint that judges likeness; empty for none.
            vqa: A model that answers questions: "sample" (offline), "llava" or "none".

        Returns:
            The job, as /job shows it.
        """
        from app.audit import actions as audit_actions

        with api_errors():
            config = audit_actions.audit_config(dataset, detector=detector, checkpoint=checkpoint, vqa=vqa)
            return self._job(audit_actions.start(self.services, config, person_of(request)))

    def evaluate(self, request: gr.Request, models: list[str], data_sets: list[str], limit: int = 0) -> dict[str, Any]:
        """Measure checkpoints on data sets, with intervals and paired comparisons, as a job.

        Args:
            models: Names of checkpoints; the first is what the others are compared with.
            data_sets: As `python -m grain.evaluate --data-sets` takes them, "sample-world" for one.
            limit: Pictures of each data set; 0 for all.

        Returns:
            The job, as /job shows it.
        """
        from app.evaluate.actions import start
        from app.evaluate.request import EvaluateRequest

        with api_errors():
            wanted = EvaluateRequest(models, data_sets, limit=limit)
            return self._job(start(self.services, wanted, person_of(request)))

    def evaluation(self, name: str = "") -> dict[str, Any]:
        """Read the numbers of a finished evaluation.

        Args:
            name: Of the evaluation; empty for the newest.

        Returns:
            One object: name, and everything of its metrics.json.
        """
        from app.evaluate.results import read_result, result_names

        with api_errors():
            names = result_names(self.services)
            if not name and not names:
                raise ValueError("Nothing is evaluated yet: call /evaluate first.")
            found = read_result(self.services, name or names[0])
        return {"name": found.name} | found.metrics

    def training_choices(self) -> dict[str, list[dict[str, str]]]:
        """List what a training can start from.

        Returns:
            One object: data (frozen versions and sample worlds), start and where; each a list of value and label.
        """
        from app.train import plan

        with api_errors():
            found = {
                "data": plan.data_choices(self.services),
                "start": plan.start_choices(self.services),
                "where": plan.where_choices(self.services),
            }
        return {name: [{"value": value, "label": label} for label, value in rows] for name, rows in found.items()}

    def train(self, request: gr.Request, settings: dict[str, Any]) -> dict[str, Any]:
        """Train GRAIN on a frozen version or a sample world, as a job that resumes from its last checkpoint.

        Args:
            settings: name; data, start and where, each a value of /training_choices; and fields: any of TrainConfig by
                name, as {"batch_size": 64}.

        Returns:
            The job, as /job shows it.
        """
        from app.train import actions as train_actions
        from app.train.plan import TrainRequest

        with api_errors():
            return self._job(train_actions.queue(self.services, person_of(request), TrainRequest.of_program(settings)))

    def import_pictures(self, request: gr.Request, source: str, name: str, coco: str = "leave") -> dict[str, Any]:
        """Import pictures into a data set, as a job; one of a new name is made.

        Args:
            source: Folder, archive, table or parquet file on the app's machine.
            name: Of the data set.
            coco: What to do with COCO files in the folder: "leave", "bring", or "accept" where people made them.

        Returns:
            The job, as /job shows it.
        """
        from app.jobs.imports import queue_import

        with api_errors():
            asked: dict[str, Any] = {"name": name, "source": source.strip(), "annotations": coco}
            return self._job(queue_import(self.services.jobs, owner=person_of(request).name, **asked))

    def import_annotations(
        self, request: gr.Request, dataset: str, file: str, format: str, accept: bool = False
    ) -> dict[str, Any]:
        """Import annotations of a data set's pictures, as a job.

        Args:
            dataset: Name of the data set; it has the pictures already.
            file: File or folder on the app's machine.
            format: As of `python -m curation.exchange.import_annotations --format`, "coco" for one.
            accept: People made them: accept those that have no verdict of their own.

        Returns:
            The job, as /job shows it.
        """
        from app.data import actions as data_actions
        from app.jobs.imports import queue_annotations

        with api_errors():
            config = data_actions.import_config(dataset, file, format, who=person_of(request).name, accept=accept)
            return self._job(queue_annotations(self.services.jobs, config))

    def export(
        self,
        request: gr.Request,
        dataset: str,
        format: str,
        version: str = "",
        verdicts: str = "accepted",
        unreviewed: bool = False,
    ) -> dict[str, Any]:
        """Export a data set into a folder of its own under GRAIN_HOME/exports, as a job.

        Args:
            dataset: Name of the data set.
            format: As of `python -m curation.exchange.export --format`, "coco" for one.
            version: Of a frozen version; empty for the data set as it is now.
            verdicts: Which descriptions: any of pending, accepted, rejected, with commas between.
            unreviewed: Include pictures that nobody has reviewed.

        Returns:
            The job, as /job shows it; folder, and losses: sentences on what the format cannot store.
        """
        from app.data import actions as data_actions

        with api_errors():
            statuses = verdict_names(verdicts)
            config = data_actions.export_config(
                self.services, dataset, version, format=format, statuses=statuses, unreviewed=unreviewed
            )
            lost = data_actions.export_losses(self.services, config)
            job = self._job(data_actions.export(self.services, config, person_of(request).name))
        return job | {"folder": str(config.out), "losses": list(lost.sentences)}

    def jobs(self, kind: str = "", before: int = 0, limit: int = 50) -> list[dict[str, Any]]:
        """List jobs, newest first, a page at a time.

        Args:
            kind: "annotate", "import", "export", "train" and so on; empty for all.
            before: Number of the last job of the page before; 0 for the first page.
            limit: Jobs of a page, 1 to 200.

        Returns:
            One object each, as /job shows it.
        """
        from db.engine import reading
        from db.queries.job_queries import job_page

        with api_errors():
            if not 1 <= limit <= MOST_JOBS:
                raise ValueError(f"Expected 1 to {MOST_JOBS} jobs of a page, got {limit}: correct it.")
            self.services.jobs.reconcile()
            with reading(self.services.engine) as session:
                found = job_page(session, kind=kind or None, before=max(0, min(before, MOST_IDS)) or None, limit=limit)
        return [_shown(job) for job in found]

    def job(self, number: int) -> dict[str, Any]:
        """Return the state and progress of a job.

        Args:
            number: Of the job.

        Returns:
            One object: job, kind, owner, state ("queued", "running", "paused", "done", "failed", "cancelled" or
            "interrupted"), done of total, message, and exit_reason.
        """
        with api_errors():
            return self._job(number)

    def control_job(self, request: gr.Request, number: int, what: str) -> dict[str, Any]:
        """Pause, resume or cancel one of your own jobs, or move it up or down the queue.

        Args:
            number: Of the job.
            what: "pause", "resume", "cancel", "sooner" or "later".

        Returns:
            The job, as /job shows it.
        """
        from app.jobs.job_control import control_job

        with api_errors():
            control_job(self.services.jobs, person_of(request), number, what=what)
            return self._job(number)

    def _annotators(self, request: gr.Request, values: dict[str, Any], settings: dict[str, Any] | None) -> Any:
        from app.annotate import actions as annotate_actions

        return annotate_actions.config_of(self.services, _form(values, settings), person_of(request))

    def _comparison(
        self, request: gr.Request, named: dict[str, Any], settings: dict[str, Any] | None, **values: Any
    ) -> Any:
        from app.annotate import compare_actions

        return compare_actions.compare_config(self.services, _form(named, settings), person_of(request), **values)

    def _job(self, number: int) -> dict[str, Any]:
        self.services.jobs.reconcile()
        job: Job | None = self.services.jobs.get(number)
        if job is None:
            raise ValueError(f"There is no job {number}: /annotate, /train and the like say which there are.")
        return _shown(job)


def _shown(job: Job) -> dict[str, Any]:
    names = ("kind", "owner", "state", "done", "total", "message", "exit_reason")
    return {"job": job.id, **{name: getattr(job, name) for name in names}}


def _form(values: dict[str, Any], settings: dict[str, Any] | None) -> Any:
    from app.annotate.form import AnnotateForm

    return AnnotateForm.read((settings or {}) | values)


def build(services: Services) -> None:
    """Offer every action, inside the current Blocks."""
    api = Api(services)
    for action in (getattr(api, name) for name in vars(Api) if not name.startswith("_")):
        offer(checked(action), api_name=action.__name__, **AT_ONCE)
