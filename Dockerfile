# A server of an index, or of a run.
#   docker build -t moon2 .                                            for CPUs
#   docker build -t moon2:cuda --build-arg PIP_EXTRA_INDEX_URL= .      for NVIDIA GPUs: PyPI's torch brings CUDA
#   docker run -p 127.0.0.1:8000:8000 -v ./indexes:/indexes -v ./runs:/runs:ro moon2 \
#     serve /indexes/shop --model /runs/shop --host 0.0.0.0
FROM python:3.11-slim AS build
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/moon2
WORKDIR /build
COPY . .
RUN PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" /opt/moon2/bin/pip install -c constraints.txt '.[serve]'

FROM python:3.11-slim
COPY --from=build /opt/moon2 /opt/moon2
ENV PATH=/opt/moon2/bin:$PATH PYTHONUNBUFFERED=1
# The user of most Linux desktops, so that what the server writes into an index belongs to whoever mounted it.
RUN useradd --uid 1000 --create-home moon2
USER moon2
EXPOSE 8000
HEALTHCHECK --start-period=120s --timeout=10s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz')"]
ENTRYPOINT ["moon2"]
CMD ["serve", "--help"]
