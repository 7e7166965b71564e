# The image of the operator. Two ways to the binaries:
#   docker build .                                       compiles them in the image
#   docker build --build-arg FROM=prebuilt .             takes them from build/release/operator (argument BINARIES)
# BASE may be any Debian bookworm; where it has the runtime libraries already, nothing is downloaded with prebuilt.
ARG BASE=debian:bookworm-slim
ARG FROM=build

FROM ${BASE} AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends g++ cmake ninja-build \
    nlohmann-json3-dev libfmt-dev libspdlog-dev libyaml-cpp-dev libcpprest-dev libssl-dev libpq-dev libexpected-dev \
    libzstd-dev libcli11-dev
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json ./
COPY src src
COPY operator operator
RUN cmake --preset release -DPGRUNBOOK_TESTS=OFF && cmake --build --preset release --target pgrunbook pgrunbook-agent \
    && mkdir /out && cp build/release/operator/pgrunbook build/release/operator/pgrunbook-agent /out/

FROM ${BASE} AS prebuilt
ARG BINARIES=build/release/operator
COPY ${BINARIES}/pgrunbook ${BINARIES}/pgrunbook-agent /out/

FROM ${FROM} AS binaries

FROM ${BASE}
ARG LIBRARIES="libcpprest2.10 libpq5 libyaml-cpp0.7 libspdlog1.10 libfmt9 libzstd1 libssl3 ca-certificates"
RUN dpkg -s ${LIBRARIES} >/dev/null 2>&1 || { apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${LIBRARIES} \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log; }
COPY --from=binaries --chmod=0755 /out/pgrunbook /out/pgrunbook-agent /usr/local/bin/
# Every library is there, and the agent, which runs in other people's images, needs none.
RUN pgrunbook version && ! ldd /usr/local/bin/pgrunbook-agent 2>/dev/null
USER 65532:65532
ENTRYPOINT ["pgrunbook"]
CMD ["controller"]
