# syntax=docker/dockerfile:1
# One image for the API, the worker and the migration: they are commands of the same package.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS build

# Where torch is looked for beside PyPI. The default holds builds without CUDA, which pip prefers
# (their version carries a local label). For GPU workers: --build-arg TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/sats
ENV PATH=/opt/sats/bin:$PATH

# Dependencies change seldom: a layer of their own, in one pip command (see pyproject.toml).
WORKDIR /build
COPY pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print('\n'.join(p['dependencies'] + p['optional-dependencies']['otel'] + p['optional-dependencies']['mlflow']))" > requirements.txt \
 && pip install --extra-index-url "${TORCH_INDEX}" -r requirements.txt

COPY README.md LICENSE ./
COPY sats_core ./sats_core
COPY app ./app
COPY demo ./demo
COPY worker ./worker
COPY migrations ./migrations
COPY clients/python ./clients/python
RUN pip install --no-deps ./clients/python . && python -m compileall -q /opt/sats/lib

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS run

RUN groupadd --gid 10001 sats \
 && useradd --uid 10001 --gid sats --home-dir /data --no-create-home --shell /usr/sbin/nologin sats \
 && install --directory --owner sats --group sats --mode 0750 /data

COPY --from=build /opt/sats /opt/sats

ENV PATH=/opt/sats/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SATS_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM

# The API's probe; a container that runs another command switches it off (see docker-compose.yml).
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]

# Other machines must be let in on purpose: it refuses to start before the first API key is made.
CMD ["sats", "api", "--host", "0.0.0.0", "--port", "8000"]
