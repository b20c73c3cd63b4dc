"""The app: `make app`, or `python app.py`. Settings are environment variables (app/settings.py)."""

import sys

from app.settings import SettingsError, load_settings, prepare_gradio


def main() -> None:
    """Settings, services, pages, serve."""
    settings = load_settings()
    prepare_gradio(settings)
    from app.main import build_app, serve  # after prepare_gradio: Gradio reads the environment while it is imported
    from app.services import Services

    services = Services(settings)
    serve(build_app(services), services)


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(f"app.py: {error}")
