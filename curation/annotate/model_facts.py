"""Say of each kind of annotator which model it takes, what that may be used for, and what it asks of a machine.

Licences and sizes are those of the models' cards; nothing here is fetched or checked by the app.
"""

from __future__ import annotations

from dataclasses import dataclass

from grain.hub import published_models
from grain.hub.published_models import APACHE
from grain.hub.weights import LocalModel
from user_errors import UserError


@dataclass(frozen=True)
class ModelFacts:
    """Facts of a kind's own model, in plain words; "" where the kind has no weights of its own.

    model: taken where none is named. families: the model_types that the kind loads; none: any. licence, size: of
    `model`. needs: of the machine. checkpoints: the kind takes checkpoints that were tuned here, by their names.
    """

    licence: str = ""
    size: str = ""
    needs: str = "nothing"
    model: str = ""
    families: tuple[str, ...] = ()
    checkpoints: bool = False

    @property
    def words(self) -> str:
        """Return one line for a page: the model, its licence, its size and what it needs."""
        return " · ".join(filter(None, (self.model, self.licence, self.size, f"needs {self.needs}")))

    @property
    def field_help(self) -> str:
        """Return what belongs into the field of a model's name."""
        if self.checkpoints:
            return "the checkpoint's name, as Ground lists it: one that was tuned from photo"
        return f"empty: {self.words}" if self.model else f"as the server calls it: {self.words}"

    @property
    def example(self) -> str:
        """Return what stands in that field while it is empty."""
        return "run-1" if self.checkpoints else "a name on the hub, or a folder"


STAND_IN = ModelFacts(licence="part of GRAIN")
CHECKPOINT = ModelFacts(licence="that of its pictures, and photo's: research and education", checkpoints=True)
SAMPLE = ModelFacts(licence="part of GRAIN", needs="pictures of the sample world")
SERVER = ModelFacts(licence="the served model's", needs="a server with OpenAI's API, such as vLLM")
LLAVA_NEXT = ModelFacts(
    APACHE, "7.6 B parameters, 15 GB", "a GPU with 20 GB, 8 GB in 4 bits", "llava-hf/llava-v1.6-mistral-7b-hf"
)
LLAVA_ONEVISION = ModelFacts(
    APACHE,
    "0.9 B parameters, 2 GB",
    "a GPU with 4 GB, or patience",
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    ("llava_onevision",),
)
QWEN25_VL = ModelFacts(
    f"{APACHE} (the 3 B one: research only)",
    "8.3 B parameters, 17 GB",
    "a GPU with 24 GB",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    ("qwen2_5_vl",),
)
QWEN3_VL = ModelFacts(
    APACHE,
    "8.8 B parameters, 18 GB",
    "a GPU with 24 GB",
    "Qwen/Qwen3-VL-8B-Instruct",
    ("qwen3_vl", "qwen3_vl_moe"),
)
SMOLVLM = ModelFacts(
    APACHE,
    "2.2 B parameters, 4.5 GB",
    "a GPU with 6 GB",
    "HuggingFaceTB/SmolVLM-Instruct",
    ("idefics3", "smolvlm"),
)
OWLV2, OWLVIT = (
    ModelFacts(each.licence, each.size, "a CPU", each.repository, (each.name,))
    for each in (published_models.OWLV2, published_models.OWLVIT)
)
GROUNDING_DINO = ModelFacts(
    APACHE, "172 M parameters, 0.7 GB", "a GPU, or patience", "IDEA-Research/grounding-dino-tiny", ("grounding-dino",)
)
MM_GROUNDING_DINO = ModelFacts(
    APACHE,
    "173 M parameters, 0.7 GB",
    "a GPU, or patience",
    "iSEE-Laboratory/llmdet_tiny",
    ("mm-grounding-dino",),
)


def check_family(found: LocalModel, facts: ModelFacts) -> LocalModel:
    """Return weights that were found, if the kind loads them.

    Raises: UserError: they are of another family.
    """
    if facts.families and found.kind not in facts.families:
        raise UserError(
            f"Expected a model of the family {' or '.join(facts.families)}, got {found.model} of {found.kind[:40]}: "
            f"choose the kind that it belongs to, or a model such as {facts.model}."
        )
    return found
