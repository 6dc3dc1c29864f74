#!/bin/bash
# What encryption costs: AES-XTS per core, ours beside OpenSSL's, and a mounted disk encrypted and not.
# benches/crypt.sh [MIB [ROUNDS]]: the size of the disk (1024) and how often each is read (5).
#
# One image is mounted twice, as the encrypted disk that its settings say and as it lies there, so that all but the
# deciphering is the same. Its file stays in the host's memory; the mount's pages are new each time.
set -euo pipefail
cd "$(dirname "$0")/.."
mib=${1:-1024} rounds=${2:-5}
for tool in qemu-img python3; do
  command -v $tool > /dev/null || { echo "$tool is missing: apt-get install qemu-utils python3" >&2; exit 1; }
done
cargo build --locked --release
program=$PWD/target/release/vboximg-mount
# The memory, where it has the room: image and random bytes.
parent=/dev/shm
[ "$(df --output=avail -m /dev/shm | tail -1)" -gt $((mib * 5 / 2)) ] || parent=${TMPDIR:-/tmp}
work=$(mktemp -d "$parent/vboximg-crypt-XXXXXX")
trap '"$program" -u "$work/mnt" 2> /dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/mnt"

echo "== AES-XTS, one core, bytes of a request in one call, 512-byte sectors"
cargo bench --locked --bench crypt -- crypt 2> /dev/null
echo "== OpenSSL's AES-XTS, one core, one key and tweak for each 512 bytes, and for each 4096"
if command -v openssl > /dev/null; then
  openssl version
  for cipher in aes-128-xts aes-256-xts; do
    for bytes in 512 4096; do
      openssl speed -decrypt -evp $cipher -bytes $bytes -seconds 3 2> /dev/null | tail -1 |
        sed "s/\$/  ($bytes bytes)/"
    done
  done
else
  echo "There is no openssl here"
fi

head -c "${mib}M" /dev/urandom > "$work/raw"
qemu-img convert -f raw -O vdi "$work/raw" "$work/disk.vdi"
rm "$work/raw"
uuid=$("$program" -l --json -i "$work/disk.vdi" | python3 -c 'import json, sys; print(json.load(sys.stdin)["uuid"])')
# A key store of AES-XTS256-PLAIN64 that VirtualBox wrote.
store="U0NORQABQUVTLVhUUzI1Ni1QTEFJTjY0AAAAAAAAAAAAAAAAAABQQktERjItU0hBMjU2AAAAAAAAAAAAAAAAAAAAAAAAAEAAAAD4v9fW5Si7gCgFgAK4\
NvTHHf1ppyW4r2Vw8jWXmfZmHCAAAAC66qbCMBFQ1RfU04EBzi8cmFD0SW6UgHIktbKdB7lOuSBOAAB4QRsJ3XcA1aXciMCl/47u0elQXuXCwstl39By1qIw\
A8CYCwBAAAAAzm1v0br59ISqCxJcbTyRb1O4SXx3AqL5iqroJNGMfucDVzYCUJRKf3t0uwINaSeSkGKA5ecVS/u6r5d92eOFpw=="
printf 'correct horse' > "$work/password"
settings() {
  echo "<VirtualBox xmlns='http://www.virtualbox.org/' version='1.19-linux'><Machine
    uuid='{11111111-2222-4333-8444-555555555555}' name='bench' OSType='Linux_64'><MediaRegistry><HardDisks><HardDisk
    uuid='{$uuid}' location='disk.vdi' format='VDI' type='Normal'>$1</HardDisk></HardDisks></MediaRegistry>
    </Machine></VirtualBox>"
}
settings "" > "$work/plain.vbox"
settings "<Property name='CRYPT/KeyId' value='bench'/><Property name='CRYPT/KeyStore' value='$store'/>" \
  > "$work/encrypted.vbox"

# Reads the whole disk with a number of readers, each a part; prints MB/s and the processor time of the busiest threads.
measure() {
  "$program" -f --settings "$work/$1.vbox" --password-file "$work/password" -i "$uuid" "$work/mnt" &
  local pid=$! readers=$2
  until mountpoint -q "$work/mnt"; do sleep 0.05; done
  python3 - "$work/mnt/vhdd" "$readers" "$pid" "$1" <<'PYTHON'
import os, sys, threading, time
path, readers, pid, name = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
size = os.stat(path).st_size
def ticks():
    times = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        fields = open(f"/proc/{pid}/task/{task}/stat").read().rsplit(")", 1)[1].split()
        times[task] = (int(fields[11]), int(fields[12]))
    return times
def read(start, end):
    fd, buffer = os.open(path, os.O_RDONLY), bytearray(1 << 20)
    for at in range(start, end, len(buffer)):
        os.preadv(fd, [buffer], at)
    os.close(fd)
part = -(-size // readers // (1 << 20)) * (1 << 20)
threads = [threading.Thread(target=read, args=(i * part, min(size, (i + 1) * part))) for i in range(readers)]
before, start = ticks(), time.monotonic()
[thread.start() for thread in threads]
[thread.join() for thread in threads]
took, after = time.monotonic() - start, ticks()
hertz = os.sysconf("SC_CLK_TCK")
user = {task: (after[task][0] - before.get(task, (0, 0))[0]) / hertz for task in after}
kernel = sum(after[task][1] - before.get(task, (0, 0))[1] for task in after) / hertz
busy = ", ".join(f"{seconds:.2f}" for seconds in sorted(user.values(), reverse=True) if seconds > 0.005)
print(f"{name:9} {readers} reader(s) {size / took / 1e6:7.0f} MB/s  user {sum(user.values()):.2f} s "
      f"(threads: {busy}), kernel {kernel:.2f} s")
PYTHON
  "$program" -u "$work/mnt"
  wait $pid
}

echo "== A mounted disk of $mib MiB, AES-XTS256, read whole; $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
cat "$work/disk.vdi" > /dev/null
for _ in $(seq "$rounds"); do
  for readers in 1 2; do
    measure plain $readers
    measure encrypted $readers
  done
done
