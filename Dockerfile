# LAKE Explorer in one image, with its weights and samples; docs/deployment.md says how to run it.
#   docker build -t lake-explorer .                                                                  for processors alone
#   docker build -t lake-explorer:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .    and for GPUs
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=
ARG VERSION=0.1.0
RUN python3 -m venv /opt/lake
# By itself, so that a change of the code does not fetch it again.
RUN /opt/lake/bin/pip install --no-cache-dir --index-url "${TORCH_INDEX}" "torch>=2.8" "torchvision>=0.23"
COPY . /src
RUN SETUPTOOLS_SCM_PRETEND_VERSION="${VERSION}" /opt/lake/bin/pip install --no-cache-dir "/src${EXTRAS}"

FROM ${BASE}
COPY --from=build /opt/lake /opt/lake
RUN useradd --uid 10001 --home-dir /scratch --no-create-home --shell /usr/sbin/nologin lake \
 && install -d -o lake -g lake -m 700 /store /scratch
# /store outlives the container: shared projects and visitors' work. /scratch need not: temporary files, caches, models
# that are downloaded. Nothing else is written, so that the root file system may be read-only.
ENV PATH=/opt/lake/bin:$PATH \
    HOME=/scratch \
    TMPDIR=/scratch \
    LAKE_STORE=/store \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME ["/store", "/scratch"]
WORKDIR /scratch
USER 10001
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
 "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ.get(\"PORT\", 8501)}/_stcore/health', timeout=4)"]
ENTRYPOINT ["lake"]
CMD ["dashboard", "--host", "0.0.0.0", "--no-browser"]
