"""What people see: pages, uploads, drawing, the checkpoint registry. This file keeps app.py from shadowing the room."""

import no_telemetry  # noqa: F401 - before any library is imported
