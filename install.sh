#!/bin/sh
# Installs a running service on a fresh Raspberry Pi OS 12 or 13, or a Debian with systemd:
#
#     sudo ./install.sh [--without-examples] [--user NAME]
#
# It may be repeated; on a running service it is an upgrade that refuses no connection.
#
#   /opt/flask-supervisor/venv                  this checkout, with its dependencies
#   /opt/flask-supervisor/apps                  your apps; at first the two example apps
#                                               (--without-examples: none)
#   /etc/flask-supervisor/supervisor.toml       the configuration; never overwritten
#   /var/lib/flask-supervisor                   data of the supervisor and the apps
#   /usr/local/bin/flask-supervisor             the command
#
# --user NAME: run as this user (default: the system user flask-supervisor).
# --without-examples: no service yet; the output says how to add your first app.
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

[ ! -f "$drop_in" ] || user=$(sed -n 's/^User=//p' "$drop_in")
usage() {
    echo "usage: sudo $0 [--without-examples] [--user NAME]" >&2
    exit 2
}
given=$*
examples=yes
while [ $# -gt 0 ]; do
    case "$1" in
    --without-examples) examples= ;;
    --user=?*) user=${1#--user=} ;;
    --user)
        [ $# -gt 1 ] || usage
        user=$2
        shift
        ;;
    *) usage ;;
    esac
    shift
done

[ "$(id -u)" = 0 ] || cannot "only root may do this" "repeat it as: sudo $0 $given"
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
if [ -z "$examples" ]; then
    mkdir -p "$apps"
elif [ ! -d "$apps" ] || (cd "$apps" && sha256sum --check --status .shipped 2>/dev/null); then
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
    if [ -n "$examples" ]; then
        sed -e 's|^state_dir = .*|state_dir = "/var/lib/flask-supervisor"|' \
            -e "s|^path = \"\\.\\.\"|path = \"$apps\"|" "$here/config/supervisor.toml" >"$work/toml"
    else
        cat >"$work/toml" <<END
# The configuration of flask-supervisor; docs/configuration.md describes every key.

[supervisor]
state_dir = "/var/lib/flask-supervisor"
END
    fi
    cp "$work/toml" "$config"
    say "wrote $config"
fi

command=$root/venv/bin/flask-supervisor
if "$command" config check --config "$config" 2>&1 | grep -q "no app is configured"; then
    [ "$user" = flask-supervisor ] || option=" --user $user"
    say "$config has no app yet. Add yours, then start the service:"
    echo "  sudo flask-supervisor add NAME MODULE:APP --port 5001 --path $apps/FOLDER"
    echo "  sudo flask-supervisor service install${option-}"
    exit
fi
"$command" service install --config "$config" --user "$user"
