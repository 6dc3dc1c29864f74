#!/bin/bash
# Installs the Debian packages that the tests use and this machine lacks. Prints which; does nothing when none is missing.
#
# usage: setup.sh [PACKAGE...]   these packages only
set -euo pipefail

packages=(
  7zip           # reads Apple's disk images and FAT
  acl            # setfacl
  attr           # getfattr
  bsdutils       # script
  bchunk         # takes the data out of CD images
  btrfs-progs    # mkfs.btrfs, btrfs
  bzip2          # decompresses samples
  cryptsetup-bin # luksFormat
  dosfstools     # mkfs.vfat
  e2fsprogs      # mkfs.ext4, e2fsck
  erofs-utils    # mkfs.erofs
  exfat-fuse     # mount.exfat-fuse
  exfatprogs     # mkfs.exfat, fsck.exfat
  f2fs-tools     # mkfs.f2fs
  fdisk          # sfdisk
  fish           # completes
  fuse3          # fusermount3
  gdisk          # sgdisk
  groff          # checks the manual page
  genisoimage    # packs optical disks
  jfsutils       # mkfs.jfs
  libarchive-tools # bsdtar reads and packs optical disks
  lvm2           # pvcreate
  mandoc         # checks the manual page
  mtools         # mcopy
  nilfs-tools    # mkfs.nilfs2
  ntfs-3g        # mkfs.ntfs
  procps         # pgrep
  python3        # writes HFS+ volumes
  qemu-utils     # qemu-img, qemu-io
  reiserfsprogs  # mkreiserfs
  rsync          # compares trees
  squashfs-tools # mksquashfs, unsquashfs
  systemd        # checks a unit
  tmux           # a terminal for the browser and for shells
  udftools       # mkudffs
  util-linux     # losetup, setpriv
  wimtools       # compresses as Windows does
  xfsprogs       # mkfs.xfs, xfs_io
  xorriso        # xorrisofs
  zsh            # completes
  zstd           # decompresses the fixtures
)

[ $# = 0 ] || packages=("$@")

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "Installing ${missing[*]}"
if [ "$(id -u)" != 0 ]; then
  echo "This needs root: run 'sudo apt-get install ${missing[*]}' and start again" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# Another process may use the package manager: wait for it. `update` knows no timeout for its lock of the lists.
wait=(-o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
for attempt in $(seq 60); do
  if apt-get -q "${wait[@]}" update; then break; fi
  [ "$attempt" -lt 60 ] || exit 1
  sleep 5
done
apt-get -qy "${wait[@]}" install --no-install-recommends "${missing[@]}"
