"""Writes HFS+ volumes with features that no free Linux program writes: fragments, hard links, attributes,
compressed files, a journal, a wrapper. It follows Apple's TN1150 (https://developer.apple.com/library/archive/technotes/tn/tn1150.html) and
the headers of xnu and shares no code with the reader under test; 7-Zip reads the same from its volumes.

    volume.py DIRECTORY KIND   writes DIRECTORY/image, and DIRECTORY/tree with the tree that macOS would show
"""
import json, os, random, struct, sys, unicodedata, zlib

EPOCH = 2082844800
MADE = EPOCH + 1_000_000_000


def unit(text):
    """Decomposes text; Apple leaves some characters composed."""
    fixed = lambda c: 0x2000 <= ord(c) < 0x3000 or 0xF900 <= ord(c) < 0xFB00 or 0x2F800 <= ord(c) < 0x2FB00
    return "".join(c if fixed(c) else unicodedata.normalize("NFD", c) for c in text).encode("utf-16-be")


def fork(size, extents, blocks):
    eight = (extents + [(0, 0)] * 8)[:8]
    return struct.pack(">QII", size, 0, blocks) + b"".join(struct.pack(">II", *e) for e in eight)


class Tree:
    """The nodes of a B-tree over sorted records."""

    def __init__(self, records, node, longest, compare=0, variable=True):
        self.node, self.longest = node, longest
        self.nodes = [b""]
        level, depth, leaves = records, 0, None
        while level and (depth == 0 or len(level) > 1 or leaves is None):
            depth += 1
            groups, above = self.group(level), []
            first = len(self.nodes)
            for i, group in enumerate(groups):
                number = first + i
                links = (number + 1 if i + 1 < len(groups) else 0, number - 1 if i else 0)
                self.nodes.append(self.build(group, -1 if depth == 1 else 0, depth, links))
                above.append((group[0][0], struct.pack(">I", number)))
            if depth == 1:
                leaves = (first, first + len(groups) - 1)
            level = above
            if len(above) == 1:
                break
        root = len(self.nodes) - 1 if records else 0
        while len(self.nodes) < 4:
            self.nodes.append(bytes(node))
        header = struct.pack(">HIIIIHHIIHIBBI", depth, root, len(records), *(leaves or (0, 0)), node, longest,
                             len(self.nodes), 0, 0, 0, 0, compare, 2 | (4 if variable else 0)) + bytes(64)
        self.nodes[0] = self.build_raw([header, bytes(128), bytes(node - 14 - 106 - 128 - 8)], 1, 0, (0, 0))

    def group(self, records):
        groups, used = [], 0
        for key, data in records:
            need = 2 + len(key) + len(data) + 2
            if not groups or used + need > self.node - 14 - 2:
                groups.append([])
                used = 0
            groups[-1].append((key, data))
            used += need
        return groups

    def build(self, records, kind, height, links):
        return self.build_raw([struct.pack(">H", len(k)) + k + d for k, d in records], kind, height, links)

    def build_raw(self, records, kind, height, links):
        body = struct.pack(">IIbBHH", links[0], links[1], kind, height, len(records), 0)
        offsets = []
        for record in records:
            offsets.append(len(body))
            body += record
        offsets.append(len(body))
        table = b"".join(struct.pack(">H", o) for o in reversed(offsets))
        return body + bytes(self.node - len(body) - len(table)) + table

    def bytes(self):
        return b"".join(self.nodes)


class Volume:
    def __init__(self, block=4096, node=8192, hfsx=False, sensitive=False, scattered=False):
        self.block, self.node, self.hfsx, self.sensitive, self.scattered = block, node, hfsx, sensitive, scattered
        self.next_id, self.next_block = 16, 16384 // block + 1
        self.content, self.catalog, self.overflow, self.xattrs, self.shown = {}, [], [], [], {}
        self.random = random.Random(7)
        self.paths = {2: ""}
        self.directory_record(1, "Läb", 2, 0o755)

    def put(self, data, fragments):
        """Writes data in a number of fragments with gaps between them; returns their extents."""
        blocks = [data[i:i + self.block] for i in range(0, len(data), self.block)]
        fragments = max(1, min(fragments, len(blocks)))
        extents = []
        for i in range(fragments):
            chunk = blocks[len(blocks) * i // fragments:len(blocks) * (i + 1) // fragments]
            if chunk:
                extents.append((self.next_block, len(chunk)))
                for block in chunk:
                    self.content[self.next_block] = block
                    self.next_block += 1
                if fragments > 1:
                    self.next_block += 1
        return extents

    def fork(self, file, kind, data, fragments=1):
        extents = self.put(data, fragments)
        first = sum(count for _, count in extents[:8])
        for i in range(8, len(extents), 8):
            eight = (extents[i:i + 8] + [(0, 0)] * 8)[:8]
            self.overflow.append((struct.pack(">BBII", kind, 0, file, first), b"".join(struct.pack(">II", *e) for e in eight)))
            first += sum(count for _, count in extents[i:i + 8])
        return fork(len(data), extents, sum(count for _, count in extents))

    def key(self, parent, name):
        raw = name.encode("utf-16-be") if name.startswith(("\0", ".HFS+")) else unit(name.replace(":", "/"))
        return struct.pack(">IH", parent, len(raw) // 2) + raw

    def record(self, parent, name, data, thread):
        key = self.key(parent, name)
        self.catalog.append((key, data))
        number = struct.unpack(">I", data[8:12])[0]
        self.catalog.append((struct.pack(">IH", number, 0), struct.pack(">HHI", thread, 0, parent) + key[4:]))

    def common(self, kind, number, mode, special=0, finder=bytes(32), flags=0, made=MADE, owner=(501, 20)):
        times = struct.pack(">IIIII", made, MADE + 10, MADE + 20, MADE + 30, 0)
        return (struct.pack(">HHII", kind, 2, 0, number) + times +
                struct.pack(">IIBBHI", *owner, 0, flags, mode, special) + finder + struct.pack(">II", 0, 0))

    def directory_record(self, parent, name, number, mode):
        self.record(parent, name, self.common(1, number, 0o40000 | mode), 3)

    def directory(self, parent, name, mode=0o755, number=None):
        number = number or self.number()
        self.directory_record(parent, name, number, mode)
        if parent in self.paths and not name.startswith(("\0", ".HFS+")):
            self.paths[number] = self.paths[parent] + name + "/"
            self.show(parent, name, f"mode={0o40000 | mode:o} uid=501 gid=20 links=0 size=0", "", {})
        return number

    def number(self):
        self.next_id += 1
        return self.next_id - 1

    def show(self, parent, name, start, content, attributes):
        import hashlib
        time = f"mtime={MADE + 10 - EPOCH}.000000000 ctime={MADE + 20 - EPOCH}.000000000"
        if isinstance(content, bytes):
            content = hashlib.sha256(content).hexdigest()
        names = ", ".join(f'"{n}": {list(v)}' for n, v in sorted(attributes.items()))
        self.shown[self.paths[parent] + unicodedata.normalize("NFC", name)] = f"{start} {time} {content} {{{names}}}"

    def file(self, parent, name, data=b"", mode=0o100644, fragments=1, resource=b"", resource_fragments=1, attributes=None,
             compressed=None, special=0, finder=bytes(32), links=1, number=None, hidden=False):
        """`compressed` has the attribute's type and content, and the resource fork; `data` is then the decompressed file."""
        number = number or self.number()
        attributes = dict(attributes or {})
        on_disk, flags = data, 0
        seen = {"user." + n: v for n, v in attributes.items()}
        if resource:
            seen["user.com.apple.ResourceFork"] = resource
        if any(finder):
            seen["user.com.apple.FinderInfo"] = finder
        if compressed:
            kind, inline, resource = compressed
            attributes["com.apple.decmpfs"] = b"fpmc" + struct.pack("<IQ", kind, len(data)) + inline
            on_disk, flags = b"", 0x20
        record = self.common(2, number, mode, special if not hidden else links, finder, flags)
        record += self.fork(number, 0, on_disk, fragments) + self.fork(number, 0xFF, resource, resource_fragments)
        self.record(parent, name, record, 4)
        for n, value in attributes.items():
            self.attribute(number, n, value)
        kind = mode & 0o170000
        content = data.decode() if kind == 0o120000 else data if kind == 0o100000 else ""
        if kind in (0o020000, 0o060000):
            content = f"{special >> 24}:{special & 0xffffff}"
        text = f"mode={mode:o} uid=501 gid=20 links={links} size={len(data)}"
        if hidden:
            return number, (text, content, seen)
        self.show(parent, name, text, content, seen)
        return number

    def attribute(self, number, name, value):
        raw = name.encode("utf-16-be")
        key = lambda block: struct.pack(">HIIH", 0, number, block, len(raw) // 2) + raw
        if len(value) < 3000:
            data = struct.pack(">IQI", 0x10, 0, len(value)) + value
            self.xattrs.append((key(0), data + bytes(len(data) % 2)))
            return
        extents = self.put(value, 12 if len(value) <= 65536 else 200)
        count = sum(c for _, c in extents)
        self.xattrs.append((key(0), struct.pack(">II", 0x20, 0) + fork(len(value), extents, count)))
        for i in range(8, len(extents), 8):
            first = sum(c for _, c in extents[:i])
            eight = (extents[i:i + 8] + [(0, 0)] * 8)[:8]
            self.xattrs.append((key(first), struct.pack(">II", 0x30, 0) + b"".join(struct.pack(">II", *e) for e in eight)))

    def hard_link(self, parent, name, target, shown):
        number = self.number()
        record = self.common(2, number, 0o100444, target, b"hlnkhfs+" + bytes(24)) + fork(0, [], 0) * 2
        self.record(parent, name, record, 4)
        self.show(parent, name, *shown)

    def sort_key(self, record):
        parent, count = struct.unpack(">IH", record[0][:6])
        units = struct.unpack(f">{count}H", record[0][6:6 + 2 * count])
        if not self.sensitive:
            units = [0xFFFF if u == 0 else ord(chr(u).lower()[0]) if not 0xD800 <= u < 0xE000 else u for u in units]
        return parent, list(units)

    def write(self, path, journal=None, wrapped=False):
        key = lambda r: struct.unpack(">BBII", r[0])
        by_name = lambda r: (struct.unpack(">I", r[0][2:6]), r[0][12:], r[0][6:10])
        catalog = Tree(sorted(self.catalog, key=self.sort_key), self.node, 516, 0xBC if self.sensitive else 0xCF).bytes()
        if self.scattered:
            catalog_fork = self.fork(4, 0, catalog, len(catalog) // self.block)
        else:
            catalog_fork = self.fork(4, 0, catalog)
        attributes_fork = fork(0, [], 0)
        if self.xattrs:
            attributes_fork = self.fork(8, 0, Tree(sorted(self.xattrs, key=by_name), self.node, 266).bytes(), 3)
        overflow = sorted(self.overflow, key=lambda r: (key(r)[2], key(r)[0], key(r)[3]))
        extents_fork = self.fork(3, 0, Tree(overflow, self.node, 10, variable=False).bytes())
        info = 0
        if journal:
            info = self.journal(journal)
        self.next_block += 16
        # The last block holds the copy of the header.
        total = self.next_block + 1
        attributes = 0x100 if not journal or journal == "clean" else 0
        attributes |= 0x2000 if journal else 0
        counts = (len(self.catalog) // 2, 1, self.block, total, total // 3)
        header = struct.pack(">2sHI4sIIIIIIIIII", b"HX" if self.hfsx else b"H+", 5 if self.hfsx else 4, attributes,
                             b"10.0", info, MADE, MADE, 0, 0, *counts)
        header += struct.pack(">IIIIIQ", 0, self.block, self.block, self.next_id, 1, 1) + bytes(24) + bytes.fromhex("0123456789abcdef")
        header += fork(0, [], 0) + extents_fork + catalog_fork + attributes_fork + fork(0, [], 0)
        image = bytearray(total * self.block)
        for number, block in self.content.items():
            image[number * self.block:number * self.block + len(block)] = block
        image[1024:1536] = header
        image[-1024:-512] = header
        if wrapped:
            # A volume of the old HFS with 4 KiB blocks from sector 10 on; this one begins with its block 3.
            old = bytearray(10 * 512 + 3 * 4096)
            old[1024:1026] = b"BD"
            struct.pack_into(">I", old, 1024 + 20, 4096)
            struct.pack_into(">H", old, 1024 + 28, 10)
            struct.pack_into(">2sHH", old, 1024 + 124, b"H+", 3, len(image) // 4096)
            image = old + image + bytes(9000)
        with open(path, "wb") as out:
            out.write(image)

    def journal(self, kind):
        """Moves some metadata into a journal and leaves old bytes on the volume; returns the number of the info block."""
        order = "<" if kind != "big" else ">"
        size, sector, list_len = 512 * 1024, 512, 4096
        metadata = sorted(n for n, b in self.content.items() if n in self.meta_blocks())
        moved = self.random.sample(metadata, min(40, len(metadata))) if kind != "clean" else []
        lists = []
        for i in range(0, len(moved), 15):
            group = moved[i:i + 15]
            infos = struct.pack(order + "qII", 0, 0, 77)
            data = b""
            for n in group:
                block = self.content[n].ljust(self.block, b"\0")
                # Newer systems store a checksum of each block.
                summed = self.checksum(block) & 0xFFFFFFFF if kind != "big" else 0
                infos += struct.pack(order + "qII", n * self.block // sector, self.block, summed)
                data += block
            # A block that was freed since.
            infos += struct.pack(order + "qII", -1, self.block, 0)
            data += b"\xEE" * self.block
            def head(checksum, count=len(group) + 2, used=list_len + len(data), infos=infos):
                return (struct.pack(order + "HHiII", 255, count, used, checksum, 2 if kind == "big" else 3) + infos).ljust(list_len, b"\0")
            lists.append(head(self.checksum(head(0)[:32])) + data)
        # The header may be older than the last transaction.
        known = lists[:-1] if kind.endswith("short") else lists
        for n in moved:
            # The last state of a block counts: the first list has an older state of the second list's first block.
            if not kind.startswith("valid"):
                self.content[n] = b"\xDB" * self.block
        body = b"".join(lists)
        # The journal wraps around to the position after its header.
        start = size - len(body) // 2 // sector * sector if body else sector * 3
        end = start + len(b"".join(known))
        end = end if end < size else end % size + sector
        area = bytearray(b"\x5A" * size)
        at = start
        for i in range(0, len(body), sector):
            if at >= size:
                at = at % size + sector
            area[at:at + sector] = body[i:i + sector]
            at += sector
        def header(checksum):
            return struct.pack(order + "IIqqqiIi", 0x4A4E4C78, 0x12345678, start, end, size, list_len, checksum, sector)
        area[:44] = header(self.checksum(header(0)))
        start_block = self.put(bytes(area), 1)[0][0]
        info = struct.pack(">I32sQQ", 1, bytes(32), start_block * self.block, size).ljust(self.block, b"\0")
        return self.put(info, 1)[0][0]

    def meta_blocks(self):
        return self.meta if hasattr(self, "meta") else set(self.content)

    @staticmethod
    def checksum(data):
        total = 0
        for byte in data:
            total = ((total << 8) ^ (total + byte)) & 0xFFFFFFFF
        return ~total & 0xFFFFFFFF


def lzvn(data):
    """Literals, and copies of 3 to 10 bytes from at most 1535 back."""
    out, last, literals, at = bytearray(), {}, bytearray(), 0

    def flush():
        while literals:
            chunk = bytes(literals[:271])
            del literals[:len(chunk)]
            out.extend(bytes([0xE0, len(chunk) - 16]) if len(chunk) >= 16 else bytes([0xE0 | len(chunk)]))
            out.extend(chunk)

    while at < len(data):
        before = last.get(data[at:at + 3], -9999)
        last[data[at:at + 3]] = at
        distance, length = at - before, 0
        if distance < 1536 and at + 3 <= len(data):
            while length < 10 and at + length < len(data) and data[before + length] == data[at + length]:
                length += 1
        if length < 3:
            literals.append(data[at])
            at += 1
            continue
        flush()
        out.extend([(length - 3) << 3 | distance >> 8, distance & 0xFF])
        at += length
    flush()
    compressed = bytes(out) + b"\x06" + bytes(7)
    return compressed if len(compressed) <= len(data) else b"\x06" + data


def zlib_fork(data):
    blocks = []
    for i in range(0, len(data), 65536):
        chunk = data[i:i + 65536]
        small = zlib.compress(chunk)
        blocks.append(small if len(small) < len(chunk) else b"\xFF" + chunk)
    table, at = struct.pack("<I", len(blocks)), 4 + 8 * len(blocks)
    for block in blocks:
        table += struct.pack("<II", at, len(block))
        at += len(block)
    content = table + b"".join(blocks)
    # A resource map with one entry, like Apple's.
    map_ = bytes(24) + struct.pack(">HHH4sHHHHII", 28, 50, 0, b"cmpf", 0, 10, 1, 0xFFFF, 0, 0)
    return struct.pack(">IIII", 256, 256 + 4 + len(content), 4 + len(content), len(map_)).ljust(256, b"\0") + \
        struct.pack(">I", len(content)) + content + map_


def lzvn_fork(data):
    blocks = [lzvn(data[i:i + 65536]) for i in range(0, len(data), 65536)]
    at, table = 4 * (len(blocks) + 1), b""
    for block in blocks:
        table += struct.pack("<I", at)
        at += len(block)
    return table + struct.pack("<I", at) + b"".join(blocks)


def fill(volume, many):
    v = volume
    noise = v.random.randbytes
    etc = v.directory(2, "etc", 0o750)
    v.file(etc, "hostname", b"lab\n", 0o104711)
    v.file(etc, "empty")
    v.file(etc, "short", b"../etc/hostname", 0o120755)
    v.file(etc, "long", b"x" * 1000, 0o120777)
    v.file(etc, "tty", mode=0o20600, special=5 << 24 | 300)
    v.file(etc, "disk", mode=0o60640, special=14 << 24 | 2)
    v.file(etc, "pipe", mode=0o10644)
    v.file(etc, "socket", mode=0o140755)
    names = v.directory(2, "naïve ☃ Ünï")
    for name in ["é", "한글.txt", "a:b", "≠", "Å", "n" * 255, "emoji 😀", "ΑΒΓ", "Жук", "Ž"]:
        v.file(names, name, name.encode())
    directory = v.directory(2, "many")
    for i in range(many):
        v.file(directory, f"file-with-a-name-{i}", str(i).encode() * (i % 50))
    v.file(2, "eight", noise(8 * v.block), fragments=8)
    v.file(2, "fragmented", noise(300 * v.block + 123), fragments=300)
    v.file(2, "nine", noise(9 * v.block - 1), fragments=9)
    v.file(2, "large", noise(2_000_000))
    v.file(2, "forks", b"data", resource=noise(5000), resource_fragments=2, finder=b"TEXTttxt" + bytes(24))
    v.file(2, "resource fragments", b"", resource=noise(14 * min(v.block, 4096)), resource_fragments=14)
    v.file(2, "attributes", b"x", attributes={"user.note": b"five", "com.apple.quarantine": b"0081;", "empty": b"",
                                             "large": noise(3500), "larger": noise(60000), "ünï": b"u"})
    for i in range(40):
        v.file(etc, f"attributed-{i}", b"", attributes={f"name-{n}": b"v" * n for n in range(i)})
    text = "".join(f"line {i}\n" for i in range(40000)).encode()
    compressed = v.directory(2, "compressed")
    v.file(compressed, "inline zlib", text[:5000], compressed=(3, zlib.compress(text[:5000]), b""))
    v.file(compressed, "inline plain", text[:100], compressed=(3, b"\xFF" + text[:100], b""))
    v.file(compressed, "inline lzvn", text[:900], compressed=(7, lzvn(text[:900]), b""))
    v.file(compressed, "zlib", text, compressed=(4, b"", zlib_fork(text)), resource_fragments=11)
    mixed = text[:90000] + noise(200000) + text[:1]
    v.file(compressed, "mixed", mixed, compressed=(4, b"", zlib_fork(mixed)))
    v.file(compressed, "lzvn", text, compressed=(8, b"", lzvn_fork(text)))
    v.file(compressed, "mixed lzvn", mixed, compressed=(8, b"", lzvn_fork(mixed)))
    hidden = v.directory(2, "\0\0\0\0HFS+ Private Data", 0)
    directories = v.directory(2, ".HFS+ Private Directory Data\r", 0)
    number = v.number()
    v.directory(directories, f"dir_{number}", 0o755, number)
    # The links to a directory show the directory and its content.
    for parent, name in ((2, "directory-link"), (etc, "directory-link")):
        v.paths[number] = v.paths[parent] + name + "/"
        v.show(parent, name, "mode=40755 uid=501 gid=20 links=0 size=0", "", {})
        v.show(number, "inside", "mode=100644 uid=501 gid=20 links=1 size=6", b"inside", {})
        link = v.common(2, v.number(), 0o100555, number, b"fdrpMACS" + bytes(24)) + fork(0, [], 0) * 2
        v.record(parent, name, link, 4)
    shown = dict(v.shown)
    v.file(number, "inside", b"inside")
    v.shown = shown
    for count in (2, 3):
        number = v.number()
        _, shown = v.file(hidden, f"iNode{number}", noise(7000), number=number, links=count, hidden=True, fragments=2,
                          attributes={"of.all": b"links"})
        for i in range(count):
            v.hard_link([2, etc, names][i], f"link-{number}-{i}", number, shown)


def main(directory, kind):
    options = {"small": dict(block=512, node=4096), "hfsx": dict(hfsx=True, sensitive=True, block=8192),
               "folding": dict(hfsx=True), "scattered": dict(scattered=True, block=1024, node=4096)}
    volume = Volume(**options.get(kind, {}))
    if kind == "huge":
        directory_id = volume.directory(2, "huge")
        for i in range(10000):
            volume.file(directory_id, f"entry-with-a-longer-name-{i}", b"")
    elif kind == "attributed":
        noise = volume.random.randbytes
        values = {"full": noise(65536), "over": noise(65537), "shattered": noise(200_000)}
        volume.file(2, "attributed", b"x", attributes=values)
    elif kind == "text":
        volume.file(2, "file", b"text")
    fill(volume, 400)
    if kind == "hfsx":
        cases = volume.directory(2, "cases")
        for name in ["a", "A", "é", "É"]:
            volume.file(cases, name, name.encode())
    before = set(volume.content)
    volume.meta_blocks = lambda: set(volume.content) - before
    journal = kind if kind in ("little", "big", "clean", "short", "valid", "valid-short") else None
    volume.write(os.path.join(directory, "image"), journal, kind == "wrapped")
    with open(os.path.join(directory, "tree"), "w") as out:
        json.dump(volume.shown, out)


main(sys.argv[1], sys.argv[2])
