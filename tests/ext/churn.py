"""Changes a mounted ext4 in ways that fast commits can note, and syncs in between.

churn.py FOLDER SEED STEPS [each]: with `each` every change is synced on its own, else a few at once.
"""
import ctypes
import os
import random
import sys

root, seed, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
each = "each" in sys.argv
random.seed(seed)
os.chdir(root)
libc = ctypes.CDLL(None, use_errno=True)
HERE, FOLLOW = -100, 0x400
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
counter = 0
done = set()


def files():
    return sorted(os.path.join(at, n) for at, _, names in os.walk(".") if "lost+found" not in at for n in names)


def folders():
    return sorted(at for at, _, _ in os.walk(".") if "lost+found" not in at)


def new_name():
    global counter
    counter += 1
    return os.path.join(random.choice(folders()), random.choice(["n", "name-" * 20, "é☃"]) + str(counter))


def old_file():
    return random.choice(files())


def create():
    with open(new_name(), "wb") as f:
        f.write(os.urandom(random.choice([0, 5, 150, 5000, 70000])))


def append():
    with open(old_file(), "ab") as f:
        f.write(os.urandom(random.choice([1, 900, 30000])))


def overwrite():
    with open(old_file(), "r+b") as f:
        f.seek(random.randrange(200000))
        f.write(os.urandom(random.choice([10, 6000, 50000])))


def truncate():
    os.truncate(old_file(), random.choice([0, 100, 4096, 20000, 3000000]))


def allocate(mode, offset, length):
    fd = os.open(old_file(), os.O_RDWR)
    libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length))
    os.close(fd)


def preallocate():
    allocate(random.choice([0, KEEP_SIZE]), random.randrange(100000), 40000)


def punch():
    allocate(PUNCH_HOLE | KEEP_SIZE, random.randrange(60000), random.choice([3000, 30000]))


def zero():
    allocate(ZERO_RANGE, random.randrange(60000), 20000)


def unlink():
    if len(files()) > 8:
        os.unlink(old_file())


def link():
    os.link(old_file(), new_name())


def rename():
    os.rename(old_file(), new_name())


def replace():
    a, b = old_file(), old_file()
    os.rename(a, b)


def mkdir():
    # When the kernel replays one that was given the inode of a deleted one, it loses it.
    if not rmdir in done:
        os.mkdir(new_name())


def rmdir():
    for folder in folders():
        if folder != "." and not os.listdir(folder):
            done.add(rmdir)
            return os.rmdir(folder)


def attributes():
    name = old_file()
    os.chmod(name, random.choice([0o600, 0o4755, 0o640]))
    os.chown(name, random.randrange(70000), 5)
    os.utime(name, (random.randrange(1 << 33), random.randrange(1 << 33)))


def again():
    """Deletes a file and makes one of the same name."""
    name = old_file()
    os.unlink(name)
    with open(name, "wb") as f:
        f.write(b"again" * random.randrange(3000))


def unnamed():
    """Makes a file without a name, and then gives it one."""
    fd = os.open(random.choice(folders()), os.O_TMPFILE | os.O_RDWR)
    os.write(fd, b"x" * 3000)
    if libc.linkat(HERE, b"/proc/self/fd/%d" % fd, HERE, new_name().encode(), FOLLOW) != 0:
        raise OSError(ctypes.get_errno(), "linkat")
    os.close(fd)


changes = [create, create, append, append, overwrite, overwrite, truncate, preallocate, punch, zero, unlink, link,
           rename, replace, mkdir, rmdir, attributes, again, unnamed]
for step in range(steps):
    random.choice(changes)()
    if each or random.random() < 0.3 or step == steps - 1:
        fd = os.open(old_file(), os.O_RDWR)
        # What has not changed is not synced.
        os.write(fd, b"s")
        os.fsync(fd)
        os.close(fd)
