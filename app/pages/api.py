"""What the pages do, for programs: one function an action, called through gradio_client, HTTP or MCP.

Each docstring is what a caller reads; errors are the sentences that the pages show. Roles stand in app/rules.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr
from gradio.events import api as offer

from app.accounts import who
from app.services import Services

if TYPE_CHECKING:
    from db.models import Job

AT_ONCE: dict[str, Any] = {"concurrency_id": "api", "concurrency_limit": 4}


@contextmanager
def said() -> Iterator[None]:
    """The page's sentences as the API's errors: all of them are values that cannot be used."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from error


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
        from app import annotating, data_sets

        with said():
            found = {name: data_sets.overview(self.services, name) for name in annotating.dataset_names(self.services)}
        return [
            {"name": name, "pictures": each.pictures, "regions": [asdict(count) for count in each.counts]}
            for name, each in found.items()
        ]

    def annotation_plan(
        self, dataset: str, describer: str = "photo", localizer: str = "photo", threshold: float = 0.3
    ) -> dict[str, Any]:
        """Say what annotating a data set would do: pictures done and left by stage, and the time as far as it is known.

        Args:
            dataset: Name of the data set.
            describer: What describes: "photo" or "sample" (offline), "llava", "server" or "vocabulary".
            localizer: What finds boxes: "photo" or "sample" (offline), or "owlv2".
            threshold: Least score of a box, 0 to 1.

        Returns:
            One object: images, seconds, and stages, each with its work, counts (done, quarantined, failed), left and
            seconds.
        """
        from app import annotating

        with said():
            plan = annotating.plan_of(self.services, self._annotators(dataset, describer, localizer, threshold))
            return {"images": plan.images, "seconds": plan.seconds, "stages": [asdict(each) for each in plan.stages]}

    def annotate(
        self,
        request: gr.Request,
        dataset: str,
        describer: str = "photo",
        localizer: str = "photo",
        threshold: float = 0.3,
    ) -> dict[str, Any]:
        """Describe every picture of a data set and find the boxes, as a job that goes on without the caller.

        Args:
            dataset: Name of the data set.
            describer: As of annotation_plan.
            localizer: As of annotation_plan.
            threshold: Least score of a box, 0 to 1.

        Returns:
            The job, as /job shows it.
        """
        from app import annotating

        with said():
            config = self._annotators(dataset, describer, localizer, threshold)
            return self._job(annotating.start(self.services, config, who(request).name))

    def regions(
        self,
        dataset: str,
        words: str = "",
        verdicts: str = "pending,accepted,rejected",
        source: str = "",
        order: str = "newest",
        after: str = "",
    ) -> dict[str, Any]:
        """Look through the regions of a data set, a page at a time.

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
        from app import curating

        with said():
            wanted = curating.Wanted(dataset, _verdicts(verdicts), source, 0, words, 0, 1, 0, "", order)
            found = curating.gallery(self.services, wanted, after)
        rows = [
            {
                "id": row.id,
                "version": row.version,
                "picture": row.image_id,
                "xyxy": [row.x1, row.y1, row.x2, row.y2],
                "text": row.text,
                "verdict": row.status,
                "score": row.score,
                "similarity": row.similarity,
                "source": row.source,
            }
            for row in (tile.annotation for tile in found.tiles)
        ]
        return {"regions": rows, "after": found.after}

    def decide(self, request: gr.Request, region: int, version: int, verdict: str) -> dict[str, Any]:
        """Accept, reject or reopen a region. Of two who decide at once, the second is told and changes nothing.

        Args:
            region: Its id.
            version: The version that was looked at, from /regions.
            verdict: "accepted", "rejected" or "pending".

        Returns:
            One object: region, and conflict: null, or the version by now, by whom, and how the region is now.
        """
        from app import curating

        ask = {"do": "verdict", "id": region, "version": version, "status": verdict}
        with said():
            done = curating.act(self.services, self.services.pictures, ask, who(request).name, "")
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
        from app import data_sets

        with said():
            config = data_sets.freeze_config(dataset, name, note, _verdicts(verdicts), who(request).name)
            return self._job(data_sets.freeze(self.services, config))

    def audit(
        self, request: gr.Request, dataset: str, detector: str = "photo", checkpoint: str = "", asked: str = "none"
    ) -> dict[str, Any]:
        """Check every claim of a data set's descriptions against its pictures, as a job.

        Args:
            dataset: Name of the data set.
            detector: "photo" or "sample" (offline), "owlv2" or "none".
            checkpoint: A GRAIN checkpoint that judges likeness; empty for none.
            asked: A model that is asked: "sample" (offline), "llava" or "none".

        Returns:
            The job, as /job shows it.
        """
        from app import auditing

        with said():
            config = auditing.config_of(dataset, detector, checkpoint, asked, "", "")
            return self._job(auditing.start(self.services, config, who(request).name))

    def evaluate(self, request: gr.Request, models: list[str], data_sets: list[str], limit: int = 0) -> dict[str, Any]:
        """Measure checkpoints on data sets, with intervals and paired comparisons, as a job.

        Args:
            models: Names of checkpoints; the first is what the others are compared with.
            data_sets: As `python -m grain.evaluate --data-sets` takes them, "sample-world" for one.
            limit: Pictures of each data set; 0 for all.

        Returns:
            The job, as /job shows it.
        """
        from app import evaluating

        with said():
            wanted = evaluating.Wanted(models, data_sets, "", "", limit)
            return self._job(evaluating.start(self.services, wanted, who(request)))

    def evaluation(self, name: str = "") -> dict[str, Any]:
        """Read the numbers of a finished evaluation.

        Args:
            name: Of the evaluation; empty for the newest.

        Returns:
            One object: name, and everything of its metrics.json.
        """
        from app import evaluating

        with said():
            names = evaluating.result_names(self.services)
            if not name and not names:
                raise ValueError("Nothing is evaluated yet: call /evaluate first.")
            found = evaluating.result(self.services, name or names[0])
        return {"name": found.name} | found.metrics

    def training_choices(self) -> dict[str, list[dict[str, str]]]:
        """List what a training can begin with.

        Returns:
            One object: data (frozen versions and sample worlds), start and where; each a list of value and label.
        """
        from app import training

        with said():
            found = {
                "data": training.data_choices(self.services),
                "start": training.start_choices(self.services),
                "where": training.where_choices(self.services),
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
        from app import training

        with said():
            return self._job(training.queue(self.services, who(request), training.Asked.read(settings)))

    def job(self, number: int) -> dict[str, Any]:
        """Look how far a job is.

        Args:
            number: Of the job.

        Returns:
            One object: job, kind, owner, state ("queued", "running", "paused", "done", "failed", "cancelled" or
            "interrupted"), done of total, message, and why it ended.
        """
        with said():
            return self._job(number)

    def steer(self, request: gr.Request, number: int, what: str) -> dict[str, Any]:
        """Pause, resume or cancel a job of one's own, or have it run sooner or later.

        Args:
            number: Of the job.
            what: "pause", "resume", "cancel", "sooner" or "later".

        Returns:
            The job, as /job shows it.
        """
        from app.steering import steer

        with said():
            steer(self.services, who(request), number, what)
            return self._job(number)

    def _annotators(self, dataset: str, describer: str, localizer: str, threshold: float) -> Any:
        from app import annotating

        wanted = annotating.Wanted(
            dataset=dataset,
            describer=describer,
            describer_model="",
            server="",
            vocabulary="",
            prompts="two-stage-1",
            localizer=localizer,
            localizer_model="",
            threshold=threshold,
            most_of_text=5,
            wrong=0.0,
            shifted=0.0,
        )
        return annotating.config_of(wanted)

    def _job(self, number: int) -> dict[str, Any]:
        self.services.jobs.reconcile()
        job: Job | None = self.services.jobs.get(number)
        if job is None:
            raise ValueError(f"There is no job {number}: /annotate, /train and the like say which there are.")
        return {
            "job": job.id,
            "kind": job.kind,
            "owner": job.owner,
            "state": job.state,
            "done": job.done,
            "total": job.total,
            "message": job.message,
            "exit_reason": job.exit_reason,
        }


def _verdicts(named: str) -> list[str]:
    from db.models import Status

    found, known = [each.strip() for each in named.split(",")], get_args(Status)
    if unknown := [each for each in found if each not in known]:
        raise ValueError(f"Expected verdicts among {', '.join(known)}, got {unknown[0][:40]!r}: correct it.")
    return found


def build(services: Services) -> None:
    """Offer every action, inside the current Blocks."""
    api = Api(services)
    for action in (
        *(api.data_sets, api.annotation_plan, api.annotate, api.regions, api.decide, api.freeze, api.audit),
        *(api.evaluate, api.evaluation, api.training_choices, api.train, api.job, api.steer),
    ):
        offer(action, api_name=action.__name__, **AT_ONCE)
