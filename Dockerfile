# Two images: the sidecar (`generatio`, the default) and a PocketBase of the release that scripts/pocketbase pins by hash (`pocketbase`).
# Both hold a program, the certificate authorities and next to nothing else; nothing in them needs root, a writable disk or a capability.

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
# Dependencies first: they are built anew only when these files change.
COPY Cargo.toml Cargo.lock ./
COPY scripts/release scripts/release
COPY scripts/release.d scripts/release.d
RUN mkdir src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs && scripts/release
COPY src src
RUN touch src/main.rs src/lib.rs && scripts/release
# The libraries that the program is linked to, at the paths where it looks for them.
RUN mkdir /image && cp target/release/generatio /image/ \
 && ldd target/release/generatio | grep -o '/[^ ]*' | xargs cp --dereference --parents --target-directory=/image

FROM debian:trixie-slim AS gather
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends busybox-static ca-certificates python3-pip >/dev/null \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /gather
COPY scripts/pocketbase scripts/pocketbase
# `common` is in both images, `owned` too and belongs to their user: a new volume takes over the owner of the folder that it is mounted on.
RUN mkdir -p common/etc/ssl/certs owned/pb/pb_data owned/secrets pocketbase/bin && chmod 700 owned/pb/pb_data owned/secrets \
 && cp /etc/ssl/certs/ca-certificates.crt common/etc/ssl/certs/ \
 && echo 'generatio:x:65532:65532::/:/sbin/nologin' >common/etc/passwd && echo 'generatio:x:65532:' >common/etc/group \
 && cp /bin/busybox pocketbase/bin/ && cp "$(scripts/pocketbase)" pocketbase/bin/

FROM scratch AS pocketbase
COPY --from=gather /gather/common/ /
COPY --from=gather --chown=65532:65532 /gather/owned/ /
COPY --from=gather /gather/pocketbase/ /
ENV PATH=/bin
USER 65532:65532
WORKDIR /pb
EXPOSE 8090
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
  CMD ["busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8090/api/health"]
ENTRYPOINT ["pocketbase"]
CMD ["serve", "--http=0.0.0.0:8090", "--dir=/pb/pb_data", "--migrationsDir=/pb/pb_migrations", "--hooksDir=/pb/pb_hooks", \
     "--publicDir=/pb/pb_public", "--hooksWatch=false", "--automigrate=false"]

FROM scratch AS generatio
COPY --from=gather /gather/common/ /
COPY --from=gather --chown=65532:65532 /gather/owned/secrets /secrets
COPY --from=build /image/ /
ENV GENERATIO_LISTEN=0.0.0.0:8080
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["/generatio", "healthcheck"]
ENTRYPOINT ["/generatio"]
CMD ["serve"]
