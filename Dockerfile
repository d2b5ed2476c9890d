# The images migrationd (the last target, hence the default) and dev (with a PostgreSQL inside, for trying things out).
#
# scripts/image builds both, where there is no registry too, runs them once, and lists what is in them. By hand:
#   docker build --tag migrationd .
#   docker build --tag migrationd:dev --target dev .
# Tried with podman 4.3 and buildah 1.28 on amd64; nothing in it is theirs.
# No HEALTHCHECK: Kubernetes asks grpc.health.v1 itself.

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY scripts/install-packages scripts/
RUN scripts/install-packages --build-only && rm -rf /var/lib/apt/lists/*
COPY . .
# Nothing is fetched from here on. The same commit gives the same bytes, whatever the time and the folder.
ARG SOURCE_DATE_EPOCH=0
ARG REVISION=unknown
RUN scripts/build release -DMIGRATIOND_HARDENED=ON -DMIGRATIOND_REVISION="$REVISION" -DMIGRATIOND_BUILD_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr \
  || { tail -n 60 build/release.log; exit 1; }
RUN for component in server cli; do DESTDIR=/install cmake --install build/release --strip --component "$component" || exit 1; done \
  # Libraries of headers only, which the package database of the image does not know; for the bill of materials.
  && mkdir -p /install/usr/share/migrationd \
  && dpkg-query --show libcli11-dev nlohmann-json3-dev >/install/usr/share/migrationd/compiled-in

FROM debian:bookworm-slim AS runtime
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates libabsl20220623 libfmt9 libgrpc++1.51 libgrpc29 libpq5 libpqxx-6.4 \
    libcivetweb1 libprometheus-cpp-core1.0 libprotobuf32 libspdlog1.10 libssl3 libstdc++6 libyaml-cpp0.7 \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log
# PostgreSQL's programs want their user to have a name.
RUN groupadd --gid 65532 migrationd \
  && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --no-log-init migrationd
COPY --from=build /install/ /
# Every library is there.
RUN migrationd --version && migrationctl --version
# It writes nothing: the root file system can be read-only.
USER 65532:65532
EXPOSE 50051 9464
ENTRYPOINT ["/usr/bin/migrationd"]

FROM runtime AS dev
USER 0:0
# PostgreSQL 15 without the cluster that its installation would make; it wants folders that the slim base has not.
RUN mkdir -p /etc/postgresql-common/createcluster.d /usr/share/man/man1 /usr/share/man/man7 \
  && echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/none.conf \
  && apt-get update \
  && apt-get install --yes --no-install-recommends postgresql-15 \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
  && install -d -o 65532 -g 65532 -m 0750 /var/lib/migrationd /var/lib/migrationd/dev
USER 65532:65532
# Callers come from outside the container, where they would only be viewers. Publish the port on loopback:
# docker run -p 127.0.0.1:50051:50051
ENV MIGRATIOND_ANONYMOUS_ROLE=admin
ENTRYPOINT ["/usr/bin/migrationd", "--dev=/var/lib/migrationd/dev", "--listen=0.0.0.0:50051"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="migrationd-dev" \
  org.opencontainers.image.description="migrationd with a private PostgreSQL inside, for trying things out" \
  org.opencontainers.image.version="$VERSION" \
  org.opencontainers.image.revision="$REVISION" \
  org.opencontainers.image.created="$CREATED"

FROM runtime AS migrationd
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="migrationd" \
  org.opencontainers.image.description="Runs long data migrations against live PostgreSQL databases" \
  org.opencontainers.image.version="$VERSION" \
  org.opencontainers.image.revision="$REVISION" \
  org.opencontainers.image.created="$CREATED"
