#!/bin/sh
# A signed repository of what `make deb` built, as a folder that any web server can serve:
#   repository.sh KEY [FOLDER] [PACKAGES]
#
# KEY is a secret key of gpg, of whoever answers for the packages: a fingerprint, or an address. The
# folder, dist/apt if not said, gets every series of PACKAGES, dist/debian if not said. Hosts trust megafleet.gpg in it, and
# nothing that another key has signed.
set -eu
cd "$(dirname "$0")/../.."
key=${1:-} out=${2:-dist/apt} from=${3:-dist/debian}
say() { printf '%s\n' "deb-repo: $*"; }
refuse() { say "$@" >&2; exit 1; }
[ -n "$key" ] || refuse "say which key signs it: make deb-repo KEY=fingerprint"
for program in apt-ftparchive gpg; do
  command -v $program >/dev/null || refuse "$program is missing: apt-get install apt-utils gpg"
done
gpg --batch --list-secret-keys "$key" >/dev/null 2>&1 ||
  refuse "gpg has no secret key '$key'; gpg --list-secret-keys shows which there are"
ls "$from"/*/*.deb >/dev/null 2>&1 || refuse "there are no packages in $from: make deb"

# Made beside it and put in its place at the end: whoever reads it meanwhile reads the old one whole.
draft=$out.new
rm -rf "$draft"
mkdir -p "$draft"
for folder in "$from"/*/; do
  series=$(basename "$folder")
  ls "$folder"*.deb >/dev/null 2>&1 || continue
  mkdir -p "$draft/pool/$series" "$draft/dists/$series"
  cp "$folder"*.deb "$draft/pool/$series"
  for machine in $(for deb in "$folder"*.deb; do dpkg-deb -f "$deb" Architecture; done | sort -u); do
    lists=dists/$series/main/binary-$machine
    mkdir -p "$draft/$lists"
    (cd "$draft" && apt-ftparchive -a "$machine" packages "pool/$series" >"$lists/Packages")
    gzip -9nk "$draft/$lists/Packages"
    machines="${machines:-} $machine"
  done
  (cd "$draft" && apt-ftparchive \
    -o APT::FTPArchive::Release::Origin=Megafleet -o APT::FTPArchive::Release::Label=Megafleet \
    -o APT::FTPArchive::Release::Suite="$series" -o APT::FTPArchive::Release::Codename="$series" \
    -o APT::FTPArchive::Release::Architectures="${machines# }" \
    -o APT::FTPArchive::Release::Components=main release "dists/$series" >Release.made)
  mv "$draft/Release.made" "$draft/dists/$series/Release"
  machines=
  gpg --batch --yes -u "$key" --clearsign -o "$draft/dists/$series/InRelease" \
    "$draft/dists/$series/Release"
  gpg --batch --yes -u "$key" -abs -o "$draft/dists/$series/Release.gpg" "$draft/dists/$series/Release"
  say "$series: $(ls "$draft/pool/$series" | wc -l) packages, signed"
done
gpg --batch --export "$key" >"$draft/megafleet.gpg"
gpg --batch --armor --export "$key" >"$draft/megafleet.asc"
rm -rf "$out.old"
if [ -e "$out" ]; then mv "$out" "$out.old"; fi
mv "$draft" "$out"
rm -rf "$out.old"
cat <<END
deb-repo: serve $out, and on each machine, with its megafleet.gpg as /etc/apt/keyrings/megafleet.gpg:
  echo 'deb [signed-by=/etc/apt/keyrings/megafleet.gpg] http://SERVER/ SERIES main' \\
    >/etc/apt/sources.list.d/megafleet.list
END
