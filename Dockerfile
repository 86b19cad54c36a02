# SPDX-License-Identifier: Apache-2.0
FROM debian:bookworm-slim AS build
COPY scripts/install-deps /src/scripts/install-deps
RUN /src/scripts/install-deps build web
COPY . /src
WORKDIR /src
RUN cmake --preset release -DBUILD_TESTING=OFF -DCMAKE_INSTALL_PREFIX=/usr \
 && cmake --build --preset release \
 && DESTDIR=/out cmake --install build/release --strip

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="h5pt" \
      org.opencontainers.image.description="Converts Keras models to PyTorch and proves that both compute the same" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN --mount=type=bind,source=scripts,target=/scripts \
    /scripts/install-deps runtime \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/h5pt
COPY --from=build /out /

ENV H5PT_LISTEN=0.0.0.0:8080 \
    H5PT_DATA_DIR=/var/lib/h5pt \
    H5PT_SANDBOX=require
USER 10001:10001
VOLUME /var/lib/h5pt
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["h5pt", "healthcheck"]
ENTRYPOINT ["h5ptd"]
