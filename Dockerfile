# The slim image: the command `stockpot`, the operator, and the verbs that need no torch (merge,
# purge, sign). The image that trains, evaluates and serves is trainer_image/Dockerfile.
#
#     docker build -t stockpot .
#
# BASE is any Debian-like image with Python 3.11 or newer. Pin it by digest where you build for
# others: docker build --build-arg BASE=python:3.12-slim-bookworm@sha256:... No digest stands here,
# because one that nobody renews is a list of known holes.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY requirements/slim.txt requirements/uv.txt requirements/
# The lock names every package by hash, and uv puts them where the second stage finds them.
RUN python -m pip install --no-cache-dir --require-hashes --no-deps --target /uv -r requirements/uv.txt \
    && python -m venv /venv \
    && /uv/bin/uv pip sync --no-cache --require-hashes --python /venv/bin/python requirements/slim.txt
COPY src/ /stockpot/
RUN python -m compileall -q /stockpot

FROM ${BASE}
COPY --from=build /venv /venv
COPY --from=build /stockpot /stockpot
ENV PATH=/venv/bin:$PATH PYTHONPATH=/stockpot PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["python", "-m", "stockpot.cli"]
CMD ["--help"]
