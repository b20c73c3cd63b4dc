"""Serve the app: `make app`, or `python app.py`. Settings are environment variables (app/core/settings.py)."""

import sys

from app.core.settings import check_port, load_settings, prepare_gradio, prepare_home
from app.services import Services
from user_errors import UserError


def main() -> None:
    """Read the settings, build services and pages, and serve.

    Raises: UserError: a setting is wrong, or something stands behind the program's name.
    """
    if sys.argv[1:]:
        raise UserError(
            f"expected no arguments, got {sys.argv[1][:40]!r}: settings are environment variables, as in "
            "GRAIN_PORT=7861 python app.py; docs/reference/settings.md lists them"
        )
    settings = load_settings()
    prepare_home(settings)
    prepare_gradio(settings)
    services = Services(settings)
    services.people.must_exist()
    check_port(settings)
    # after prepare_gradio: Gradio reads the environment while it is imported; and last, since that takes seconds
    from app.main import build_app, serve

    serve(build_app(services), services)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"app.py: {error}")
