"""Describe pictures in short phrases with a vision-language model on this machine; say what every describer promises.

It is asked what the subject is, then, in the same conversation, for its visible features and a caption. An answer that
cannot be read is quarantined with its reason; its text is kept. torch and transformers are imported only when a model
is loaded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from PIL import Image

from curation.annotate import model_facts
from curation.annotate.messages import PLACEHOLDER, PreviewedRequest, preview, user_turn
from curation.annotate.picture_sizes import Size, check_side, reduce_picture
from curation.annotate.prompts import (
    PROMPTS,
    TWO_STAGE,
    ParsedList,
    Prompts,
    name_question,
    parse_descriptions,
    parse_sentence,
    storable,
)
from curation.annotate.vlm_boxes import BoxAnswer
from grain.hub.weights import SPREAD, LocalModel, find_model
from grain.time_limit import check_time, seconds_left
from user_errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_MODEL = model_facts.LLAVA_NEXT.model
PRECISIONS = ("auto", "fp32", "bf16", "4bit")
DEVICE_MAPS = ("one", SPREAD)
ATTENTION = ("auto", "sdpa", "eager", "flash_attention_2")


class DescriberError(UserError):
    """No picture can be described now; the message is one sentence that says why and what to do."""


@dataclass(frozen=True)
class DescriberResult:
    """The descriptions of one picture, or why there are none.

    raw: the model's answers in order, as far as a database can hold them; empty where there was none.
    subject: the first question's answer; empty where it was not asked. descriptions: none where there is a problem.
    left_out: items of the list that are no short description. problem: empty, or why the answers cannot be used, or
    why there are none. prompt_tokens: read by the model, those taken from a cache not counted.
    seconds: this picture's share of its call.
    """

    raw: tuple[str, ...] = ()
    subject: str = ""
    descriptions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    caption: str = ""
    problem: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0

    @property
    def answered(self) -> bool:
        """Tell whether the model said anything; with a problem, the result is quarantined if so, and failed if not."""
        return bool(self.raw)


@dataclass(frozen=True)
class DescribeConfig:
    """The questions, and how long an answer may be."""

    prompts: str = TWO_STAGE.name
    """One of curation.annotate.prompts.PROMPTS."""
    caption: bool = True
    """Ask for a sentence on the whole picture too."""
    stage1_tokens: int = 64
    """Most tokens of the first answer."""
    stage2_tokens: int = 160
    """Most tokens of the list."""
    caption_tokens: int = 80
    """Most tokens of the caption."""

    def __post_init__(self) -> None:
        """Refuse what cannot be asked."""
        if self.prompts not in PROMPTS:
            raise ValueError(f"prompts must be one of {', '.join(PROMPTS)}, got {self.prompts!r}")
        for name in ("stage1_tokens", "stage2_tokens", "caption_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def words(self) -> Prompts:
        """Return the questions that are asked."""
        prompts = PROMPTS[self.prompts]
        return prompts if self.caption else replace(prompts, caption="")

    @property
    def most_tokens(self) -> dict[str, int]:
        """Return the most tokens of each answer, by the stages of `words.questions`."""
        return {stage: getattr(self, f"{stage}_tokens") for stage in self.words.questions}


class Describer(Protocol):
    """A model that writes descriptions."""

    @property
    def name(self) -> str:
        """Return `model@revision`."""

    def describe(self, images: Sequence[Image.Image]) -> list[DescriberResult]:
        """Describe upright RGB pictures: one result each, in their order.

        Raises: DescriberError: none can be described now.
        """


@runtime_checkable
class TextDescriber(Protocol):
    """A describer that knows words as well: it can be asked what a class looks like without a picture."""

    @property
    def name(self) -> str:
        """Return `model@revision`."""

    def describe_names(self, names: Sequence[str]) -> list[DescriberResult]:
        """Describe classes by their names: one result each, in their order.

        Raises: DescriberError: none can be described now.
        """


@dataclass(frozen=True)
class ModelAnswer:
    """text: as the model wrote it. complete: it ended by itself. yes: of a server that was asked for probabilities."""

    text: str
    complete: bool
    prompt_tokens: int
    answer_tokens: int
    yes: float | None = None


def read_answers(answers: Mapping[str, ModelAnswer], seconds: float) -> DescriberResult:
    """Parse one picture's answers (stage -> answer) into a result; the first that cannot be read is its problem."""
    subject, parsed, caption = "", ParsedList(), ""
    problems: list[str] = []
    for stage, answer in answers.items():
        try:
            if stage == "stage1":
                subject = parse_sentence(answer.text)
            elif stage == "stage2":
                parsed = parse_descriptions(answer.text, complete=answer.complete)
            else:
                caption = parse_sentence(answer.text, complete=answer.complete)
        except ValueError as error:
            problems.append(f"{stage}: {error}")
    return DescriberResult(
        raw=tuple(storable(answer.text) for answer in answers.values()),
        subject=subject,
        descriptions=() if problems else parsed.descriptions,
        left_out=parsed.left_out,
        caption=caption,
        problem=problems[0] if problems else "",
        prompt_tokens=sum(answer.prompt_tokens for answer in answers.values()),
        answer_tokens=sum(answer.answer_tokens for answer in answers.values()),
        seconds=seconds,
    )


def _picture_part(image: Image.Image) -> dict[str, Any]:
    """Return the part of a message that holds a picture."""
    return {"type": "image", "image": image}


def words_between(processor: Any, question: str, name: str) -> str:
    """Return what a chat template writes between the end of an answer and the start of the next.

    Raises: DescriberError: it drops answers. name: of the model, for the sentence.
    """
    turns = [
        user_turn("", {"type": "image"}),
        {"role": "assistant", "content": [{"type": "text", "text": PLACEHOLDER}]},
        user_turn(question),
    ]
    written: str = processor.apply_chat_template(turns, add_generation_prompt=True)
    _, answered, rest = written.partition(PLACEHOLDER)
    if not answered:
        raise DescriberError(f"The chat template of {name} drops answers: ask one question only, or change it")
    return rest


def load_processor(found: LocalModel) -> Any:
    """Load the processor of a model alone, without its weights.

    Raises: UserError: see LocalModel.load_processor.
    """
    from transformers import AutoProcessor

    return found.load_processor(AutoProcessor)


def preview_local(processor: Any, config: DescribeConfig, image: Image.Image, *, name: str) -> list[PreviewedRequest]:
    """Return the requests about a picture with what the chat template makes of them (see PreviewedRequest).

    Raises: DescriberError: as of words_between.
    """
    picture = {"type": "image", "picture": f"{image.width} × {image.height} pixels, resized by the model's processor"}
    found: list[PreviewedRequest] = []
    for each in preview(config.words, config.most_tokens, picture):
        question = each.messages[-1]["content"][-1]["text"]
        first = [user_turn(question, {"type": "image"})]
        text = (
            found[-1].text + PLACEHOLDER + words_between(processor, question, name)
            if found
            else processor.apply_chat_template(first, add_generation_prompt=True)
        )
        found.append(replace(each, text=text))
    return found


@dataclass(frozen=True)
class _Turn:
    """Conversations about B pictures after an answer.

    ids: [B, S] all tokens so far. mask: [B, S] 0 at padding and at the end-of-text. cache: keys and values of all but
    the last. pictures: what the processor made of the pictures. answers: B.
    """

    ids: Tensor
    mask: Tensor
    cache: Any
    pictures: dict[str, Tensor]
    answers: list[ModelAnswer]


class LlavaDescriber:
    """An image-text-to-text model of transformers, greedy, several pictures at once.

    Every later question continues the first one's key-value cache: the picture is read once. The text is that of
    separate calls over the same tokens.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        config: DescribeConfig | None = None,
        batch_size: int = 8,
        reuse_cache: bool = True,
        picture_side: int = 0,
    ) -> None:
        """model, processor: of transformers, with a chat template. batch_size: of pictures.

        Args:   picture_side: most pixels of the longer side of a picture that the model sees; 0: its processor's.
        Raises: ValueError: no chat template, no picture in a batch, or a side that no model works with.
        """
        if picture_side:
            check_side(picture_side)
        if not processor.chat_template:
            raise ValueError(f"{name} has no chat template: choose a model that was made for conversations")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.name, self.config = name, config or DescribeConfig()
        self._model, self._processor = model.eval(), processor
        self._batch_size, self._reuse_cache, self._picture_side = batch_size, reuse_cache, picture_side
        end, padding = processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id
        ends = model.generation_config.eos_token_id or end
        self._ends = [ends] if isinstance(ends, int) else list(ends)
        image_token = getattr(model.config, "image_token_id", None)
        self._generation = {
            "do_sample": False,
            "num_beams": 1,
            "eos_token_id": self._ends,
            "pad_token_id": end if padding is None else padding,
            # an answer must not pretend to hold a picture
            "suppress_tokens": None if image_token is None else [image_token],
            "return_dict_in_generate": True,
        }

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = DEFAULT_MODEL,
        *,
        revision: str = "main",
        config: DescribeConfig | None = None,
        precision: str = "auto",
        attention: str = "auto",
        device_map: str = "one",
        batch_size: int = 8,
        picture_side: int = 0,
    ) -> LlavaDescriber:
        """Load weights that are on this machine; nothing is downloaded.

        Args:   model: name on the Hugging Face hub, or a folder. revision: branch, tag or commit.
                precision: `fp32`, `bf16`, `4bit` (needs a GPU and bitsandbytes), or `auto`: bf16 on a GPU, else fp32.
                attention: kernel of transformers, or `auto`: its own choice. device_map: `one`: all on one GPU, or
                `auto`: spread over all GPUs by accelerate. batch_size, picture_side: see __init__.
        Raises: UserError: the weights are not here; the message holds the command that fetches them.
                ValueError: another precision or kernel, one that this machine cannot do, or a model of another kind.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if attention not in ATTENTION:
            raise ValueError(f"attention must be one of {', '.join(ATTENTION)}, got {attention!r}")
        if device_map not in DEVICE_MAPS:
            raise ValueError(f"device_map must be one of {', '.join(DEVICE_MAPS)}, got {device_map!r}")
        if attention == "flash_attention_2" and not find_spec("flash_attn"):
            raise ValueError(
                "attention flash_attention_2 needs an NVIDIA GPU and `pip install flash-attn`: choose sdpa"
            )
        found = find_model(model, revision)

        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

        gpu = torch.cuda.is_available()
        if precision == "4bit" and not (gpu and find_spec("bitsandbytes")):
            raise ValueError("precision 4bit needs an NVIDIA GPU and `pip install bitsandbytes`: choose bf16 or fp32")
        chosen = ("bf16" if gpu else "fp32") if precision == "auto" else precision
        if found.kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            raise ValueError(
                f"a {found.kind} model answers no questions about pictures: choose one such as {DEFAULT_MODEL}"
            )
        options: dict[str, Any] = {"dtype": torch.float32 if chosen == "fp32" else torch.bfloat16}
        if attention != "auto":
            options["attn_implementation"] = attention
        if chosen == "4bit":
            options["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype="bfloat16")  # type: ignore[no-untyped-call]
        place = SPREAD if device_map == SPREAD else "cuda" if gpu else "cpu"
        weights, processor = found.load(AutoModelForImageTextToText, AutoProcessor, device_map=place, **options)
        return cls(weights, processor, name=found.name, config=config, batch_size=batch_size, picture_side=picture_side)

    def describe(self, images: Sequence[Image.Image]) -> list[DescriberResult]:
        """See Describer."""
        starts = range(0, len(images), self._batch_size)
        return [result for start in starts for result in self._batch(images[start : start + self._batch_size])]

    def describe_names(self, names: Sequence[str]) -> list[DescriberResult]:
        """See TextDescriber."""
        starts = range(0, len(names), self._batch_size)
        return [result for start in starts for result in self._describe_names(names[start : start + self._batch_size])]

    def ask_each(self, images: Sequence[Image.Image], questions: Sequence[str], most_tokens: int) -> list[BoxAnswer]:
        """See BoxAnswerer."""
        found: list[BoxAnswer] = []
        for start in range(0, len(images), self._batch_size):
            some = [self._reduced(image) for image in images[start : start + self._batch_size]]
            asked = questions[start : start + self._batch_size]
            ids, mask, pictures = self._tokens(
                [[user_turn(each, _picture_part(image))] for image, each in zip(some, asked, strict=True)]
            )
            sizes = [image.size for image in some]
            seen = self._seen_sizes(pictures) or sizes
            answers = self._generate(ids, mask, pictures=pictures, most_tokens=most_tokens).answers
            found += [
                BoxAnswer(answer.text, size, resized)
                for answer, size, resized in zip(answers, sizes, seen, strict=True)
            ]
        return found

    def _seen_sizes(self, pictures: Mapping[str, Tensor]) -> list[Size]:
        """Return the size to which the processor resized each picture; none where it does not tell."""
        if "image_grid_thw" not in pictures:
            return []
        patch: int = self._processor.image_processor.patch_size
        return [(patch * across, patch * down) for _, down, across in pictures["image_grid_thw"].tolist()]

    def _reduced(self, image: Image.Image) -> Image.Image:
        return reduce_picture(image, self._picture_side) if self._picture_side else image.convert("RGB")

    def _describe_names(self, names: Sequence[str]) -> list[DescriberResult]:
        began = time.perf_counter()
        ids, mask, _ = self._tokens([[user_turn(name_question(name))] for name in names])
        answers = self._generate(ids, mask, pictures={}, most_tokens=self.config.stage2_tokens).answers
        share = (time.perf_counter() - began) / len(names)
        return [read_answers({"stage2": answer}, share) for answer in answers]

    def yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float | None]]:
        """See curation.audit.evidence.Asked: from the first token of the answer, greedy or not."""
        return [[self._yes(image, each) for each in some] for image, some in zip(images, questions, strict=True)]

    def _yes(self, image: Image.Image, question: str) -> float:
        import torch

        ids, mask, pictures = self._first_turn([image], question)
        with torch.inference_mode():
            odds = self._model(input_ids=ids, attention_mask=mask, **pictures).logits[0, -1].float()
        tokens = self._processor.tokenizer
        yes, no = (
            {tokens(lead + word, add_special_tokens=False).input_ids[0] for lead in ("", " ") for word in words}
            for words in (("yes", "Yes"), ("no", "No"))
        )
        apart = (sorted(yes - no), sorted(no - yes))  # a token that begins both tells nothing
        shares = torch.stack([odds[some].logsumexp(0) for some in apart]).softmax(0)
        return float(shares[0])

    def _batch(self, images: Sequence[Image.Image]) -> list[DescriberResult]:
        began = time.perf_counter()
        turns: dict[str, _Turn] = {}
        for stage, question in self.config.words.questions.items():
            most = self.config.most_tokens[stage]
            before = next(reversed(turns.values()), None)
            turns[stage] = self._ask(images, question, most) if before is None else self._go_on(before, question, most)
        share = (time.perf_counter() - began) / len(images)
        rows = zip(*(turn.answers for turn in turns.values()), strict=True)
        return [read_answers(dict(zip(turns, answers, strict=True)), share) for answers in rows]

    def _ask(self, images: Sequence[Image.Image], question: str, most_tokens: int) -> _Turn:
        """Ask the first question about pictures."""
        ids, mask, pictures = self._first_turn(images, question)
        return self._generate(ids, mask, pictures=pictures, most_tokens=most_tokens)

    def _first_turn(self, images: Sequence[Image.Image], question: str) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Tokenize a conversation for each picture that begins with the question (see _tokens)."""
        return self._tokens([[user_turn(question, _picture_part(self._reduced(image)))] for image in images])

    def _tokens(self, conversations: Sequence[list[dict[str, Any]]]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Tokenize conversations that begin: ids and mask [B, S], and what the processor makes of their pictures."""
        inputs = self._processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        ).to(self._model.device, self._model.dtype)
        return inputs.pop("input_ids"), inputs.pop("attention_mask"), dict(inputs)

    def _go_on(self, turn: _Turn, question: str, most_tokens: int) -> _Turn:
        """Ask a later question, in the conversation of an answer."""
        import torch

        between = words_between(self._processor, question, self.name)
        words = self._processor.tokenizer(between, add_special_tokens=False, return_tensors="pt")
        added = words.input_ids.to(turn.ids.device).expand(len(turn.ids), -1)  # [B, N]
        ids = torch.cat([turn.ids, added], dim=1)
        mask = torch.cat([turn.mask, torch.ones_like(added)], dim=1)
        if self._reuse_cache:
            return self._generate(ids, mask, pictures={}, most_tokens=most_tokens, cache=turn.cache)
        pictures = {  # some processors mark which tokens are a picture's; none of the later ones is
            name: torch.cat([value, value.new_zeros(len(ids), ids.shape[1] - value.shape[1])], dim=1)
            if name.endswith("token_type_ids")
            else value
            for name, value in turn.pictures.items()
        }
        return self._generate(ids, mask, pictures=pictures, most_tokens=most_tokens)

    def _generate(
        self, ids: Tensor, mask: Tensor, *, pictures: dict[str, Tensor], most_tokens: int, cache: Any = None
    ) -> _Turn:
        """Answer the conversations. ids, mask: [B, S], padded on the left. cache: of a part of them, or None."""
        import torch

        already_read = cache.get_seq_length() if cache is not None else 0
        left_s = seconds_left()
        out = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            cache=cache,
            **pictures,
            **self._generation,
            max_new_tokens=most_tokens,
            **({"max_time": left_s} if left_s < math.inf else {}),
        )
        check_time()  # else the answer would be cut and nobody would know why
        answer = out.sequences[:, ids.shape[1] :]  # [B, L]
        ended = torch.isin(answer, answer.new_tensor(self._ends)).cumsum(dim=1) > 0
        kept = (~ended).to(mask.dtype)
        texts = self._processor.tokenizer.batch_decode(
            [row[keep.bool()] for row, keep in zip(answer, kept, strict=True)], skip_special_tokens=True
        )
        counts = zip(
            texts,
            ended.any(dim=1).tolist(),
            mask[:, already_read:].sum(dim=1).tolist(),
            kept.sum(dim=1).tolist(),
            strict=True,
        )
        answers = [ModelAnswer(text, complete, read, written) for text, complete, read, written in counts]
        return _Turn(out.sequences, torch.cat([mask, kept], dim=1), out.cache, pictures, answers)
