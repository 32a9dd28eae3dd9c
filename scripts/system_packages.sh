#!/bin/sh
# Installs what napari needs from a bare Debian or Ubuntu: Qt's and OpenGL's libraries, and a virtual screen.
# Without the right to install, says which packages are missing and stops. Does nothing on other systems.
set -eu

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || exit 0

wanted="xvfb xauth libgl1 libegl1 libdbus-1-3 libfontconfig1 libglib2.0-0 libxkbcommon-x11-0 libxcb-cursor0
  libxcb-icccm4 libxcb-keysyms1 libxcb-shape0"
"${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || wanted="$wanted python3-venv"

# A newer release may call a library otherwise and "provide" the old name, as libglib2.0-0t64 does.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}, ${Provides}\n' |
  sed -n 's/^installed //p' | tr ',' '\n' | sed 's/^ *//; s/ .*//')
missing=""
for package in $wanted; do
  printf '%s\n' "$installed" | grep -qxF "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root="env"
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root="sudo -n env"
else
  echo "System packages are missing; install them with" \
    "'sudo apt-get update && sudo apt-get install --no-install-recommends$missing', then run make again." >&2
  exit 1
fi

echo "Installing the system packages$missing."
apt="$as_root DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
$apt update
# shellcheck disable=SC2086
$apt install --yes --no-install-recommends $missing >/dev/null
