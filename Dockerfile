# One image for every service; the command says which: `ingest`, `ledger`, `commands`, `scheduler`, `api`, or any other
# command of twinmeter (`verify`, `site import`, `doctor`, ...). The program reacts to SIGTERM by itself and starts no child
# processes in these roles, so it needs no init.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/twinmeter
COPY requirements.lock /tmp/requirements.lock
RUN /opt/twinmeter/bin/pip install --require-hashes -r /tmp/requirements.lock
WORKDIR /app
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY schemas schemas
COPY billing billing
COPY rules rules
COPY twin twin
COPY adapters adapters
COPY simulators simulators
COPY api api
COPY deploy deploy
RUN /opt/twinmeter/bin/pip install --no-deps --no-build-isolation --editable . \
    && /opt/twinmeter/bin/python -m compileall -q /app

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="twinmeter" org.opencontainers.image.licenses="Apache-2.0"
# The font of printed bills: a subset of it goes into each PDF.
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-wqy-microhei && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 twinmeter \
    && useradd --uid 10001 --gid twinmeter --no-create-home --home-dir /var/lib/twinmeter --shell /usr/sbin/nologin twinmeter \
    && install --directory --owner=twinmeter --group=twinmeter /var/lib/twinmeter
COPY --from=build /opt/twinmeter /opt/twinmeter
COPY --from=build /app /app
ENV PATH=/opt/twinmeter/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TWINMETER_DATA=/var/lib/twinmeter \
    TWINMETER_HTTP=0.0.0.0:8080
WORKDIR /app
USER twinmeter
VOLUME ["/var/lib/twinmeter"]
EXPOSE 8080
# For the default command; docker-compose.yml names the other services.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 CMD ["python", "deploy/healthcheck.py", "api"]
ENTRYPOINT ["twinmeter"]
CMD ["api"]
