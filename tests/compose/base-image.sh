#!/usr/bin/env bash
# Gets debian:bookworm-slim, the image that deploy/Dockerfile begins with: from the registry, or, for an engine that reaches
# none, out of Debian packages. Does nothing when the image is there already.
#
# Needs root and mmdebstrap. QUORATE_DEBIAN_MIRROR names another mirror than Debian's own.
set -euo pipefail

name=debian:bookworm-slim
if docker image inspect "$name" >/dev/null 2>&1; then
    exit 0
fi
if timeout 120 docker pull --quiet "$name" >/dev/null 2>&1; then
    echo "base-image: pulled $name"
    exit 0
fi
if ! command -v mmdebstrap >/dev/null 2>&1; then
    echo "base-image: $name cannot be pulled, and there is no mmdebstrap to make it with: apt-get install mmdebstrap" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "base-image: $name cannot be pulled, and making it needs root" >&2
    exit 1
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# What the official slim image leaves out, too.
exclude() { printf -- '--dpkgopt=path-exclude=%s\n' "$@"; }
mapfile -t slim < <(exclude '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/info/*' '/usr/share/locale/*' \
    '/usr/share/lintian/*' '/usr/share/groff/*' '/usr/share/linda/*')
mmdebstrap --quiet --mode=root --variant=minbase --aptopt='Acquire::Retries "3"' "${slim[@]}" \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    bookworm "$folder/base.tar" ${QUORATE_DEBIAN_MIRROR:+"$QUORATE_DEBIAN_MIRROR"}
docker import --change 'CMD ["bash"]' "$folder/base.tar" "$name" >/dev/null
echo "base-image: made $name of Debian packages"
