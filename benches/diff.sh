#!/bin/bash
# How long `diff` takes beside comparing everything: a disk of 20 GiB with 60,000 files, of which 100 MiB change in a
# snapshot. benches/diff.sh [ROUNDS [PROGRAM]]: how often each is run (3), and another build of this program.
#
# The base is a VDI, the snapshot a differencing QCOW2, and the same states are raw files for cmp(1) and, mounted by the
# kernel, for diff(1). Needs root, qemu-utils and 8 GB in TMPDIR.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
if [ $# -lt 2 ]; then cargo build --locked --release; fi
program=$(realpath "${2:-target/release/vboximg-mount}")
work=$(mktemp -d "${TMPDIR:-/tmp}/vboximg-diff-XXXXXX")
clean() {
  for mount in old.mnt new.mnt; do umount "$work/$mount" 2> /dev/null || true; done
  rm -rf "$work"
}
trap clean EXIT
. tests/support/loop.sh
cd "$work"
mkdir old.mnt new.mnt

truncate -s 20G old
mkfs.ext4 -q -F old
mount -o loop old old.mnt
python3 - << 'PYTHON'
import os
noise = os.urandom(1 << 20)
for directory in range(200):
    os.makedirs(f"old.mnt/small/{directory}")
    for file in range(300):
        with open(f"old.mnt/small/{directory}/{file}", "wb") as out:
            out.write(noise[file:3000 + 2 * file])
for big in range(20):
    with open(f"old.mnt/big-{big}", "wb") as out:
        out.writelines([noise] * 100)
PYTHON
umount old.mnt
cp --sparse=always old new
mount -o loop new new.mnt
python3 - << 'PYTHON'
import os
for big in range(5):
    with open(f"new.mnt/big-{big}", "r+b") as out:
        for mebibyte in range(0, 100, 5):
            out.seek(mebibyte << 20)
            out.write(os.urandom(1 << 20))
PYTHON
umount new.mnt
qemu-img convert -q -f raw -O vdi old base.vdi
qemu-img create -q -f qcow2 -b base.vdi -F vdi snapshot.qcow2
python3 - << 'PYTHON'
import os, subprocess
block, at, count = 1 << 16, 0, 0
os.mkdir("blocks")
old, new = open("old", "rb"), open("new", "rb")
qemu = subprocess.Popen(["qemu-io", "-f", "qcow2", "snapshot.qcow2"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
while True:
    try:
        at = os.lseek(new.fileno(), at, os.SEEK_DATA) // block * block
    except OSError:
        break
    old.seek(at)
    new.seek(at)
    now = new.read(block)
    if old.read(block) != now:
        with open(f"blocks/{count}", "wb") as out:
            out.write(now)
        qemu.stdin.write(f"write -s blocks/{count} {at} {len(now)}\n".encode())
        count += 1
    at += block
qemu.stdin.close()
qemu.wait()
PYTHON
rm -r blocks
mount -o loop,ro old old.mnt
mount -o loop,ro new new.mnt

measure() {
  local name=$1 round
  shift
  for round in $(seq "$rounds"); do
    local start end
    start=$(date +%s%N)
    "$@" > out || [ $? = 1 ]
    end=$(date +%s%N)
    echo "$name: $(((end - start) / 1000000)) ms, $(wc -l < out) lines"
  done
}
export VBOX_USER_HOME=$work
measure "diff, files" "$program" diff base.vdi snapshot.qcow2
measure "diff, ranges" "$program" diff --ranges base.vdi snapshot.qcow2
measure "diff, ranges that are not shared" "$program" diff --ranges --no-read base.vdi snapshot.qcow2
measure "diff(1) of the kernel's mounts" diff -rq --no-dereference old.mnt new.mnt
# To a file: with /dev/null, it ends at the first difference.
measure "cmp of the raw disks, all bytes" bash -c 'cmp -l old new | tail -1'
