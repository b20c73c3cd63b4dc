"""The data room: pictures in, described and reviewed regions out."""

import no_telemetry  # noqa: F401 - before any library is imported
