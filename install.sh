#!/bin/sh
# Installs a running service on a fresh Raspberry Pi OS 12 or 13, or a Debian with systemd:
#
#     sudo ./install.sh [--user NAME]
#
# It may be repeated; on a running service it is an upgrade that refuses no connection.
#
#   /opt/flask-supervisor/venv                  this checkout, with its dependencies
#   /opt/flask-supervisor/apps                  your apps; at first the two example apps
#   /etc/flask-supervisor/supervisor.toml       the configuration; never overwritten
#   /var/lib/flask-supervisor                   data of the supervisor and the apps
#   /usr/local/bin/flask-supervisor             the command
#
# --user NAME: run as this user (default: the system user flask-supervisor).
set -eu
umask 022

say() { echo "install.sh: $*"; }
cannot() {
    echo "install.sh: cannot install: $1" >&2
    shift
    for line in "$@"; do echo "  $line" >&2; done
    exit 1
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=/opt/flask-supervisor
config=/etc/flask-supervisor/supervisor.toml
python=${PYTHON:-python3}
user=flask-supervisor
drop_in=/etc/systemd/system/flask-supervisor.service.d/10-installation.conf

case "$#:${1-}" in
0:) [ ! -f "$drop_in" ] || user=$(sed -n 's/^User=//p' "$drop_in") ;;
1:--user=?*) user=${1#--user=} ;;
2:--user) user=$2 ;;
*)
    echo "usage: sudo $0 [--user NAME]" >&2
    exit 2
    ;;
esac

[ "$(id -u)" = 0 ] || cannot "only root may do this" "repeat it as: sudo $0 $*"
[ -d /run/systemd/system ] || cannot "systemd does not run this machine" \
    "run it in the foreground instead: make run"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || cannot \
    "Python 3.11 or newer is needed; $python is: $("$python" --version 2>&1)" \
    "name another one: sudo PYTHON=python3.13 $0"
if ! id -u "$user" >/dev/null 2>&1; then
    [ "$user" = flask-supervisor ] || cannot "there is no user $user" "correct --user"
    useradd --system --user-group --no-create-home --shell /usr/sbin/nologin \
        --home-dir /var/lib/flask-supervisor "$user"
fi

# ---- code
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    say "installing python3-venv"
    apt-get -qq update && apt-get -qq install -y python3-venv >/dev/null ||
        cannot "$python has no venv module" "install it: sudo apt-get install python3-venv"
fi
mkdir -p "$root"
if ! "$root/venv/bin/python" -c 'import pip' 2>/dev/null; then
    say "creating $root/venv"
    "$python" -m venv --clear "$root/venv" # also if a Python upgrade has broken it
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy, since a build leaves files beside the sources, owned by root.
mkdir "$work/source"
for name in pyproject.toml README.md LICENSE supervisor apps bin config systemd; do
    cp -R "$here/$name" "$work/source/$name"
done
find "$work/source" -name __pycache__ -prune -exec rm -rf {} +
say "installing $here into $root/venv"
"$root/venv/bin/pip" install --quiet --disable-pip-version-check --upgrade "$work/source" ||
    cannot "pip failed, see above" "without internet, download the packages before: pip download"
ln -sfn "$root/venv/bin/flask-supervisor" /usr/local/bin/flask-supervisor

# ---- the example apps, unless others have replaced them
apps=$root/apps
shipped=$apps/.shipped # the checksums of the files that this script has installed
if [ ! -d "$apps" ] || (cd "$apps" && sha256sum --check --status .shipped 2>/dev/null); then
    mkdir -p "$apps"
    (cd "$work/source" && find apps -type f -exec sha256sum {} +) >"$work/shipped"
    # Each file is replaced by a rename: running apps may read it at any time.
    sed 's/^[^ ]*  //' "$work/shipped" | while read -r file; do
        mkdir -p "$apps/$(dirname "$file")"
        cp "$work/source/$file" "$apps/$file.new"
        mv -f "$apps/$file.new" "$apps/$file"
    done
    [ ! -f "$shipped" ] || sed 's/^[^ ]*  //' "$shipped" | while read -r file; do
        [ -f "$work/source/$file" ] || rm -f "$apps/$file"
    done
    mv "$work/shipped" "$shipped"
elif [ -f "$shipped" ]; then
    say "$apps has other apps than the examples: left as it is"
fi
chown -R "$user:" "$apps"

# ---- configuration
if [ ! -e "$config" ]; then
    mkdir -p "$(dirname "$config")"
    sed -e 's|^state_dir = .*|state_dir = "/var/lib/flask-supervisor"|' \
        -e "s|^path = \"\\.\\.\"|path = \"$apps\"|" "$here/config/supervisor.toml" >"$work/toml"
    cp "$work/toml" "$config"
    say "wrote $config"
fi

"$root/venv/bin/flask-supervisor" service install --config "$config" --user "$user"
