#!/bin/bash
# mirror.sh: print the Debian mirror that this machine uses.
set -euo pipefail
mirror=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources 2> /dev/null || true)
: "${mirror:=$(awk '$1 == "deb" {print $2; exit}' /etc/apt/sources.list)}"
echo "$mirror"
