"""What the app keeps of its visitors does not grow with their number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from app.main import build_app, launch_options
from app.ui.light_sessions import MOST_SESSIONS, LightSession
from tests.support.fake_app import fake_services
from tests.support.waiting import PATIENCE_S


def test_a_call_leaves_no_session_and_a_named_session_is_kept_small(tmp_path: Path) -> None:
    services = fake_services(tmp_path)
    app = build_app(services)
    app.launch(**launch_options(services))
    try:
        with httpx.Client(base_url=str(app.local_url), timeout=PATIENCE_S) as program:
            bodies: list[dict[str, Any]] = [{"data": []}, {"data": [], "session_hash": "of-a-browser"}]
            for body in bodies:
                for _ in range(5):
                    event = program.post("gradio_api/call/data_sets", json=body).json()["event_id"]
                    told = program.get(f"gradio_api/call/data_sets/{event}").text
                    assert "event: complete" in told and "[[]]" in told
        holder = app.state_holder
        assert list(holder.session_data) == list(holder.time_last_used) == ["of-a-browser"]
        kept = holder.session_data["of-a-browser"]
        assert isinstance(kept, LightSession)
        assert len(kept.config_values) < 10 < len(app.blocks), "only what an answer changed"
        assert holder.capacity == MOST_SESSIONS
    finally:
        app.close()
