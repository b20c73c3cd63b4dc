# The app in a container: docs/guides/deploy.md. As it is, PyTorch brings CUDA along; for processors alone:
#   docker build --build-arg TORCH_INDEX=<PyTorch's index of CPU builds> -t grain .
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=""

ENV GRAIN_HOME=/data \
    GRAIN_HOST=0.0.0.0 \
    HF_HOME=/data/huggingface \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

WORKDIR /grain

# Every hash is checked. With TORCH_INDEX, PyTorch comes from there instead, in the lock's version.
COPY requirements.lock ./
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN if [ -z "$TORCH_INDEX" ]; then \
        pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock; \
    else \
        awk '/^[a-z]/ { torch = /^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==/ } !torch' \
            requirements.lock > rest.lock \
        && pip install --no-cache-dir --no-deps --require-hashes -r rest.lock \
        && grep -oE '^(torch|torchvision)==[0-9.]+' requirements.lock > torch.txt \
        && pip install --no-cache-dir --no-deps --index-url "$TORCH_INDEX" -r torch.txt \
        && rm rest.lock torch.txt; \
    fi

COPY app.py atomic_files.py job_progress.py no_telemetry.py picture_formats.py user_errors.py ./
COPY app ./app
COPY configs ./configs
COPY curation ./curation
COPY db ./db
COPY grain ./grain

RUN useradd --uid 1000 --no-create-home --home-dir /data grain \
    && mkdir --parents /data/label-studio/files && chown --recursive grain:grain /data
USER 1000
VOLUME /data
EXPOSE 7860

HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=8)"]

CMD ["python", "app.py"]
