# mailhatch without a distribution around it: the program, its libraries, the CA certificates, nothing else.
#   docker build -t mailhatch .
#   docker run --read-only -p 8587:8587 -v /srv/secrets:/secrets:ro -e MAILHATCH_LISTEN=0.0.0.0:8587 \
#     -e MAILHATCH_API_KEYS_FILE=/secrets/keys -e MAILHATCH_RELAY_URL=smtp://user@smtp.example.com:587 \
#     -e MAILHATCH_RELAY_PASSWORD_FILE=/secrets/password mailhatch
# Without MAILHATCH_LISTEN it serves its own network namespace only: right for a sidecar in a pod, where no key is needed.
# Classic builder only: no RUN --mount, no heredocs.

FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        gcc make pkg-config libc6-dev libmicrohttpd-dev libgnutls28-dev libssl-dev libcjson-dev libidn2-dev libyaml-dev zlib1g-dev ca-certificates \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Makefile openapi.yaml ./
COPY smtp smtp
COPY service service
COPY api api
COPY deploy/image.sh deploy/image.sh
# The times of all files in the image: the same sources and packages make the same layer.
ARG SOURCE_DATE_EPOCH=0
RUN make -j"$(nproc)" && SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH deploy/image.sh build/mailhatch /image

FROM scratch
COPY --from=build /image /
USER 65532:65532
ENV MAILHATCH_ADMIN_LISTEN=0.0.0.0:8588
EXPOSE 8587 8588
ENTRYPOINT ["/usr/bin/mailhatch"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=2s CMD ["/usr/bin/mailhatch", "healthcheck"]
