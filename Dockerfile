# The images of the operator and of the sample server, for machines with Docker or BuildKit:
#
#     docker build --target operator --tag mcp-operator .
#     docker build --target sample --tag mcp-sample-server .
#
# The steps are those of deploy/images/install.py, which the local build (deploy/local/local_images) runs too; only the base
# differs: the official Python image here, Debian's own Python there. What stands below must say the same as
# deploy/local/local_images/recipes.py (tests/unit/test_images_dockerfile.py holds it).
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS base
RUN --mount=type=bind,source=deploy/images,target=/steps python3 /steps/install.py base
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV PYTHONPATH=/app/src:/app/lib
ENV PYTHONDONTWRITEBYTECODE=1
ENV PYTHONSAFEPATH=1
ENV PYTHONUNBUFFERED=1

FROM base AS operator
RUN --mount=type=bind,source=deploy/images,target=/steps --mount=type=bind,source=requirements,target=/requirements \
    PIP_NO_CACHE_DIR=1 python3 /steps/install.py dependencies /requirements/runtime.txt
RUN --mount=type=bind,source=.,target=/source \
    python3 /source/deploy/images/install.py application /source/operator/mcp_operator --project /source/pyproject.toml
USER 65532:65532
ENTRYPOINT ["python3", "-m", "mcp_operator"]

FROM base AS sample
RUN --mount=type=bind,source=deploy/images,target=/steps --mount=type=bind,source=requirements,target=/requirements \
    PIP_NO_CACHE_DIR=1 python3 /steps/install.py dependencies /requirements/sample.txt
RUN --mount=type=bind,source=.,target=/source \
    python3 /source/deploy/images/install.py application /source/deploy/samples/server/sample_server
# A build argument, so that two images can differ in the version that the server tells its clients.
ARG VERSION=1.0.0
ENV VERSION=${VERSION}
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python3", "-m", "sample_server"]
