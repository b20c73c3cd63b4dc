"""Turn off what libraries would send about their users. Every room imports this before it imports anything else.

The variables are read while those libraries are imported, so they are set here, and processes that we start inherit
them. A value that the operator has set stays.
"""

import os

VARIABLES = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: queries a server, writes a device id
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, transformers, and what asks them
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",  # a new head says there that it reports nothing
    "DO_NOT_TRACK": "1",  # what others have agreed on
}

for name, value in VARIABLES.items():
    os.environ.setdefault(name, value)
