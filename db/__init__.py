"""The facts: what people did, kept in one database. Nothing here knows of models, pages or images."""

import no_telemetry  # noqa: F401 - before any library is imported
