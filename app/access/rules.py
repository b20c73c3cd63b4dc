"""Hold the role that every route and event needs. What has no rule is refused, and a test looks for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, get_args

from starlette.routing import compile_path

Role = Literal["viewer", "curator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what the ones before it may."""
Rule = Literal["open", "viewer", "curator", "admin", "closed"]
RULES: tuple[Rule, ...] = get_args(Rule)
"""From the mildest to the strictest. open: before anybody has signed in. closed: for nobody."""

HOME_PATH = "/home"
LOGIN, LOGOUT = "/login", "/logout"
GRADIO = "/gradio_api"
FILE, UPLOAD, MCP = f"{GRADIO}/file=", f"{GRADIO}/upload", f"{GRADIO}/mcp"


def _each(rule: Rule, patterns: str) -> dict[str, Rule]:
    return dict.fromkeys(patterns.split(), rule)


def _in(owner: str, rule: Rule, names: str) -> dict[str, Rule]:
    return {f"{owner}.{name}": rule for name in names.split()}


def _table(*parts: dict[str, Rule]) -> dict[str, Rule]:
    table: dict[str, Rule] = {}
    for part in parts:
        if twice := table.keys() & part.keys():
            raise ValueError(f"expected one rule each, got two for {', '.join(sorted(twice))}")
        table |= part
    return table


ROUTES: dict[str, Rule] = _table(
    # what signing in needs, what Gradio asks itself while it starts, and its own files, the same in every copy of it
    _each("open", "/login /login/ /logout /logout/ /gradio_api/startup-events /favicon.ico /robots.txt"),
    _each("open", "/static/{path:path} /assets/{path:path} /svelte/{path:path} /theme.css /gradio_api/theme.css"),
    # says only whether the database answers (app/core/health.py)
    _each("open", "/health"),
    # Label Studio's server calls here and shows a secret of its own (app/label_studio/backend.py)
    _each("open", "/label-studio /label-studio/{path:path}"),
    # the pages; a page's own buttons have rules in EVENTS
    _each("viewer", f"{HOME_PATH} {HOME_PATH}/"),
    _each("viewer", "/ /ground /ground/ /annotate /annotate/ /curate /curate/ /concepts /concepts/"),
    _each("viewer", "/evaluate /evaluate/ /audit /audit/ /train /train/ /data /data/"),
    _each("viewer", "/thumbnails/{sha256}"),
    # what Curate's editor asks (app/curate/editor_routes.py)
    _each("viewer", "/curate/views /curate/rest /curate/pictures/{image:int}/{sha256}"),
    _each("curator", "/curate/acts /curate/suggestions"),
    _each("viewer", "/config /config/ /manifest.json /pwa_icon /pwa_icon/{size}"),
    _each("viewer", "/gradio_api/info /gradio_api/info/ /gradio_api/openapi.json /gradio_api/app_id"),
    _each("viewer", "/gradio_api/app_id/ /gradio_api/user /gradio_api/user/ /gradio_api/login_check"),
    _each("viewer", "/gradio_api/login_check/"),
    # ways to an event: a request that comes along them still needs the event's own rule
    _each("viewer", "/gradio_api/queue/join /gradio_api/queue/data /gradio_api/queue/status"),
    _each("viewer", "/gradio_api/run/{api_name} /gradio_api/run/{api_name}/"),
    _each("viewer", "/gradio_api/api/{api_name} /gradio_api/api/{api_name}/"),
    _each("viewer", "/gradio_api/call/{api_name} /gradio_api/call/{api_name}/"),
    _each("viewer", "/gradio_api/call/v2/{api_name} /gradio_api/call/v2/{api_name}/"),
    _each("viewer", "/gradio_api/call/{api_name}/{event_id} /gradio_api/call/v2/{api_name}/{event_id}"),
    _each("viewer", "/gradio_api/mcp /gradio_api/mcp/{path:path}"),
    _each("viewer", "/gradio_api/cancel /gradio_api/reset /gradio_api/reset/ /gradio_api/heartbeat/{session_hash}"),
    # files: each person reads what that person sent or was shown (app/access/gate.py)
    _each("viewer", "/gradio_api/upload /gradio_api/upload_progress /gradio_api/file={path_or_url:path}"),
    # what nothing here uses
    _each("closed", "/openapi.json /monitoring /monitoring/summary /monitoring/{key} /gradio_api/dev/reload"),
    _each("closed", "/gradio_api/token /gradio_api/token/ /gradio_api/deep_link /gradio_api/file/{path:path}"),
    _each("closed", "/gradio_api/proxy={url_path:path} /gradio_api/process_recording /gradio_api/runs"),
    _each("closed", "/gradio_api/runs/"),
    _each("closed", "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}"),
    _each("closed", "/gradio_api/component_server /gradio_api/component_server/"),
    _each("closed", "/gradio_api/stream/{event_id} /gradio_api/stream/{event_id}/close"),
    _each("closed", "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8"),
    _each("closed", "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file"),
    _each("closed", "/gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}"),
    _each("closed", "/gradio_api/vibe-edit /gradio_api/vibe-edit/ /gradio_api/undo-vibe-edit"),
    _each("closed", "/gradio_api/undo-vibe-edit/ /gradio_api/vibe-code /gradio_api/vibe-code/"),
    _each("closed", "/gradio_api/vibe-starter-queries /gradio_api/vibe-starter-queries/"),
)
"""A route's path as the app declares it -> the least role."""

INSIDE = {
    *("/config", "/gradio_api/info", "/gradio_api/upload", "/gradio_api/queue/data"),
    *("/gradio_api/heartbeat/{session_hash}", "/gradio_api/reset", "/gradio_api/cancel"),
}
"""Where Gradio's MCP server may go by its own key; an event it starts with the key of the person who asked for it."""


GROUND, ANNOTATE, CURATE = "app.ground.page", "app.annotate.page", "app.curate.page"
HOME, TRAIN = "app.home.page", "app.train.page"
EVALUATE = "app.evaluate.page"
CURATE_BULK = "app.curate.bulk_page"
DATA_UPKEEP = "app.data.upkeep_page"
CURATE_MAP, DATA, LABEL_STUDIO = "app.curate.map_page", "app.data.page", "app.label_studio.page"
CONCEPTS, AUDIT, API = "app.concepts.page", "app.audit.page", "app.api"
EVENTS: dict[str, Rule] = _table(
    _in(
        f"{GROUND}.GroundPage",
        "viewer",
        "open first_run run set_alpha redraw check_picture suggest use_example prepare clear_progress",
    ),
    _in(
        f"{GROUND}.GroundPage",
        "viewer",
        "choose_checkpoint about compare audit show_server share download_json download_png ground",
    ),
    _in("app.ground.several_page.SeveralPictures", "viewer", "run show_kept download_csv download_coco download_crops"),
    _in("app.ground.class_lists_page.ClassLists", "viewer", "offer fill"),
    _in("app.ground.more_models_page.MoreModels", "viewer", "unfold fold tick"),
    _in("app.ground.more_models_page.MoreModels", "admin", "fetch control_job_by_button"),  # it speaks to the hub
    _in(f"{GROUND}.GroundPage", "curator", "describe"),  # it may name a server, which this machine then speaks to
    _in(f"{HOME}.HomePage", "viewer", "open show tick"),
    _in(f"{HOME}.HomePage", "curator", "import_example"),
    _in(f"{ANNOTATE}.AnnotatePage", "viewer", "open show show_progress show_fields show_more show_left_out"),
    _in(f"{ANNOTATE}.AnnotatePage", "viewer", "refresh_jobs refresh_data_sets suit_annotators save_left_out"),
    _in(f"{ANNOTATE}.AnnotatePage", "curator", "start control_job try_picture preview_messages"),
    _in(f"{ANNOTATE}.AnnotatePage", "admin", "import_pictures"),  # it reads any folder that the server can
    _in("app.annotate.compare_page.CompareSection", "viewer", "show"),
    _in("app.annotate.compare_page.CompareSection", "curator", "start next_claim decide"),
    _in("app.ui.events", "viewer", "keep_stream_alive"),
    _in("app.ui.events.Paged", "viewer", "forward back"),
    _in("app.ui.signed_in.SignedIn", "viewer", "show"),
    _in("app.ui.dataset_choice.DatasetNames", "viewer", "offer"),
    _in("app.ui.first_example.FirstExample", "viewer", "offer"),
    _in("app.ui.first_example.FirstExample", "curator", "begin"),
    _in("app.home.own_pictures_page.OwnPictures", "curator", "start"),
    _in("app.ground.send_page.SendToCurate", "curator", "send_one send_all"),
    _in(f"{CURATE}.CuratePage", "viewer", "open show again session"),
    _in(f"{CURATE_BULK}.BulkSection", "viewer", "count library"),
    _in(f"{CURATE_BULK}.BulkSection", "curator", "act keep"),
    _in(f"{CURATE_BULK}.BulkSection", "admin", "empty_trash"),  # nothing brings back what it removes
    _in(f"{EVALUATE}.EvaluatePage", "viewer", "open plan tick refresh pick_result pick_data_set show ground reviews"),
    _in(
        f"{EVALUATE}.EvaluatePage",
        "viewer",
        "metrics_json results_csv measures_csv classes_csv pictures_csv show_review",
    ),
    _in(f"{EVALUATE}.EvaluatePage", "viewer", "experiments pick_experiment plan_experiment"),
    _in(f"{EVALUATE}.EvaluatePage", "curator", "start start_experiment ask judge"),
    _in(f"{CURATE_MAP}.MapSection", "viewer", "unfold fold draw similar ask peek forget tick"),
    _in(f"{CURATE_MAP}.MapSection", "curator", "start_map start_scores control_job_by_button keep"),
    _in(f"{LABEL_STUDIO}.LabelStudioPanel", "viewer", "show offer_tags refresh"),
    _in(f"{LABEL_STUDIO}.LabelStudioPanel", "curator", "push pull control_job choose"),
    _in(f"{DATA}.DataPage", "viewer", "open show holds losses compare turn tick"),
    _in(f"{DATA}.DataPage", "curator", "freeze export ask"),
    _in(f"{DATA}.DataPage", "admin", "import_annotations"),  # as with imports
    _in(f"{DATA_UPKEEP}.UpkeepSection", "viewer", "works question open_removal removable removal deletion renaming"),
    _in(f"{DATA_UPKEEP}.UpkeepSection", "curator", "act"),
    _in(f"{DATA_UPKEEP}.UpkeepSection", "admin", "remove rename_or_delete"),  # nothing brings back what they delete
    _in(f"{AUDIT}.AuditPage", "viewer", "open choose_audit close show report pick go command fields tick"),
    _in(f"{AUDIT}.AuditPage", "curator", "judge ask draw_sample fit start reject control_job"),
    _in(f"{TRAIN}.TrainPage", "viewer", "open choose_dataset suggest check recheck choose address tick download"),
    _in(f"{TRAIN}.TrainPage", "curator", "measure queue ask keep note"),  # who may stop a job: app/train/runs.py
    _in(
        f"{API}.Api",
        "viewer",
        "data_sets annotation_plan prompt_comparison regions evaluation training_choices job jobs",
    ),
    _in(f"{API}.Api", "curator", "annotate compare_prompts decide freeze export audit evaluate train control_job"),
    _in(f"{API}.Api", "admin", "import_pictures import_annotations"),  # they read any folder that the server can
    _in(f"{CONCEPTS}.ConceptsPage", "viewer", "open enter choose go show tick"),
    _in(f"{CONCEPTS}.ConceptsPage", "curator", "ask import_pictures compare find_duplicates save freeze"),
    _in(f"{CONCEPTS}.ConceptsPage", "curator", "evaluate control_job"),
)
"""A handler by module and name -> the least role of the person who sets it off, by page, queue, API or MCP alike."""

_PATTERNS: list[tuple[re.Pattern[str], str]] = [(compile_path(path)[0], path) for path in ROUTES]


def route_rule(path: str) -> tuple[Rule, str]:
    """Return the rule of a path and its pattern: the strictest of several, "closed" if there is none."""
    found = [(ROUTES[pattern], pattern) for regex, pattern in _PATTERNS if regex.match(path)]
    return max(found, key=lambda each: RULES.index(each[0]), default=("closed", ""))


def event_name(handler: Callable[..., Any]) -> str:
    """Return a handler's name as EVENTS spells it."""
    function = getattr(handler, "__func__", handler)
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(handler).__qualname__)}"


def event_rule(handler: Callable[..., Any] | None) -> Rule:
    """Return the rule of an event, "closed" if it has none. An event without a handler runs in the browser alone."""
    return "viewer" if handler is None else EVENTS.get(event_name(handler), "closed")


def allows(role: Role, rule: Rule) -> bool:
    """Return whether a role satisfies a rule."""
    return rule != "closed" and (rule == "open" or ROLES.index(role) >= ROLES.index(rule))
