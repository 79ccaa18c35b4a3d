# syntax=docker/dockerfile:1
# The image: one static binary with its assets, certificates and nothing else.
# It brings no database: give it DATABASE_URL, REDIS_URL and the other settings
# that docs/config.md requires outside development.

FROM node:22-bookworm-slim AS node

FROM golang:1.26-bookworm AS build
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /src

# Libraries first: these layers last as long as the lock files do.
COPY go.mod go.sum ./
RUN go mod download
COPY static/package.json static/package-lock.json static/
RUN cd static && npm ci --no-audit --no-fund

COPY . .
ARG VERSION=dev
ENV CGO_ENABLED=0
RUN --mount=type=cache,target=/root/.cache/go-build \
    go run ./static/build && \
    go build -trimpath -buildvcs=false -tags timetzdata \
        -ldflags "-s -w -X main.version=${VERSION}" -o /rootfs/heddle ./cmd/web

# 65532 is a number without a name anywhere else; a data directory of its own
# and a /tmp are all it may write to.
RUN mkdir -p /rootfs/etc/ssl/certs /rootfs/tmp /rootfs/var/lib/heddle && \
    cp /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ && \
    echo 'heddle:x:65532:65532::/var/lib/heddle:/nonexistent' >/rootfs/etc/passwd && \
    echo 'heddle:x:65532:' >/rootfs/etc/group && \
    chmod 1777 /rootfs/tmp && \
    chown 65532:65532 /rootfs/var/lib/heddle && chmod 700 /rootfs/var/lib/heddle

FROM scratch
COPY --from=build /rootfs/ /
ENV HEDDLE_ENV=production \
    HEDDLE_DATA_DIR=/var/lib/heddle
USER 65532:65532
WORKDIR /var/lib/heddle
EXPOSE 8080
# HEDDLE_DRAIN is 180 s: stop with a grace of 195 s or more.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["/heddle", "healthcheck"]
ENTRYPOINT ["/heddle"]
CMD ["serve"]
