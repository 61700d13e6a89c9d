# The slim image: the operator, the command `stockpot`, and the verbs that need no torch (merge,
# purge, sign). The image that trains, evaluates and serves is trainer_image/Dockerfile.
#
#     make images                                                     both, with buildah
#     docker build --build-arg BASE=python:3.12-slim-bookworm@sha256:... -t stockpot .
#
# BASE is any Debian-like image with Python 3.11 or newer. It has no default: one without a digest
# would be another image every week, and a digest that nobody renews is a list of known holes.
# trainer_image/README.md says how to learn today's.
ARG BASE

FROM ${BASE} AS build
# Where packages come from, and whom to trust on the way: of this stage alone.
ARG PIP_INDEX_URL
ARG PIP_CERT
ARG UV_DEFAULT_INDEX
ARG SSL_CERT_FILE
ARG UV_CACHE_DIR=/tmp/uv-cache
# Compiled here: on a read-only root it would be done anew at every start.
ENV UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_HTTP_TIMEOUT=180 \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH
WORKDIR /build
RUN python3 -m pip --version >/dev/null 2>&1 \
    || { apt-get update -q && apt-get install -q -y --no-install-recommends python3-pip; }
COPY requirements/slim.txt requirements/uv.txt requirements/
# The lock names every package by hash; none is built from source.
RUN python3 -m pip install --no-cache-dir --require-hashes --no-deps --target /uv -r requirements/uv.txt \
    && /uv/bin/uv venv --python "$(command -v python3)" /venv \
    && /uv/bin/uv pip sync --require-hashes --no-build --python /venv/bin/python requirements/slim.txt
COPY src/ /stockpot/
COPY trainer_image/commands.sh /build/
RUN sh /build/commands.sh /venv stockpot=stockpot.cli.main stockpot-operator=stockpot.controller.app \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /stockpot \
    && chmod -R a+rX,go-w /stockpot /venv

FROM ${BASE}
# What a base may bring to install more packages with; the image needs none.
RUN rm -rf /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/site-packages/* \
    /usr/local/bin/pip* /usr/local/bin/wheel
COPY --from=build /venv /venv
COPY --from=build /stockpot /stockpot
COPY LICENSE NOTICE /usr/share/doc/stockpot/
ENV PATH=/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/stockpot PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
LABEL org.opencontainers.image.title="stockpot" org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["stockpot"]
CMD ["--help"]
