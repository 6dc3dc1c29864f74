//! Makes valid seeds for the fuzz targets, small ones: images by qemu-img, file systems by their own tools, and the
//! settings files of the tests.
//!
//! usage: seeds DIRECTORY   (cargo-fuzz reads `fuzz/corpus`)

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// Run in a directory of its own for each; all that it leaves is a seed of the target.
const SEEDS: [(&str, &str); 10] = [
    ("vdi", "for o in static=on static=off; do qemu-img create -q -f vdi -o $o $o 2M; write $o vdi; done"),
    (
        "vmdk",
        "for s in monolithicSparse streamOptimized; do qemu-img convert -q -O vmdk -o subformat=$s ../disk $s; done
         qemu-img create -q -f vmdk w 2M; write w vmdk",
    ),
    ("vhd", "for s in fixed dynamic; do qemu-img convert -q -O vpc -o subformat=$s,force_size ../disk $s; done"),
    ("vhdx", "qemu-img create -q -f vhdx -o block_size=1M,log_size=1M a 2M; write a vhdx"),
    (
        "qcow",
        "for c in 512 65536; do qemu-img create -q -f qcow2 -o cluster_size=$c c$c 2M; write c$c qcow2; done
         qemu-img convert -q -c -O qcow2 ../disk compressed; qemu-img snapshot -c s c65536
         qemu-img create -q -f qcow v1 2M; write v1 qcow
         qemu-img create -q -f qcow2 -o extended_l2=on,compression_type=zstd,data_file=d,data_file_raw=on x 2M; rm d",
    ),
    ("parallels", "qemu-img create -q -f parallels a 2M; write a parallels"),
    ("qed", "qemu-img create -q -f qed -o cluster_size=4096,table_size=2 a 2M; write a qed"),
    (
        "partitions",
        "make() { truncate -s 128K $1; printf \"$2\" | sfdisk -q --no-tell-kernel $1; }
         make gpt 'label: gpt\\nfirst-lba: 34\\n40,8,L\\n48,8,U\\n'
         make mbr 'label: dos\\n1,8,L\\n9,100,E\\n10,8,L\\n20,8,S\\n'
         make bsd 'label: dos\\n1,200,a5\\n'",
    ),
    // One that VirtualBox wrote, for AES-XTS256-PLAIN64.
    ("keystore", "sed -n '/^store=/,/\"$/p' $ROOT/benches/crypt.sh | tr -d '\\n' | cut -d '\"' -f 2 > disk"),
    (
        "guestfs",
        "mkdir ../tree; echo file > ../tree/file; ln -s file ../tree/link; mkdir ../tree/inner; seq 999 > ../tree/inner/more
         make() { truncate -s $1 $2; shift; \"${@:2}\" $1 >/dev/null; }
         make 4M ext4 mkfs.ext4 -q -b 1024 -N 32 -J size=1 -d ../tree
         make 128K ext2 mkfs.ext2 -q -N 32 -d ../tree
         make 2M ntfs mkfs.ntfs -q -F -Q 2>/dev/null; ntfscp -qf ntfs ../tree/file file
         make 128K fat12 mkfs.vfat; mcopy -i fat12 ../tree/file ::file
         make 1M exfat mkfs.exfat -c 4K -b 4K
         for c in gzip xz zstd lz4 lzo; do mksquashfs ../tree squashfs-$c -quiet -no-progress -comp $c >/dev/null; done
         xorrisofs -quiet -R -J -o iso ../tree
         make 512K udf mkudffs -b 512",
    ),
];

/// Before each script.
const START: &str =
    "set -e; write() { qemu-io -f $2 -c 'write -P 7 70000 3000' -c 'write -z 1M 64k' $1 >/dev/null; }; ";

fn main() {
    let Some(directory) = env::args_os().nth(1) else {
        eprintln!("usage: seeds DIRECTORY");
        std::process::exit(2);
    };
    for (target, script) in SEEDS {
        let work = tempfile::tempdir().expect("a temporary directory");
        let (made, seeds) = (work.path().join("made"), Path::new(&directory).join(target));
        fs::create_dir_all(&made).expect("a directory for what is made");
        fs::create_dir_all(&seeds).expect("a directory for seeds");
        let disk: Vec<u8> =
            (0..2_u32 << 20).map(|at| if at % 700_000 < 4096 { at.to_le_bytes()[1] } else { 0 }).collect();
        fs::write(work.path().join("disk"), disk).expect("a disk");
        let status = Command::new("bash")
            .args(["-c", &format!("{START}{script}")])
            .current_dir(&made)
            .env("ROOT", concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "The script of {target} fails; tests/setup.sh has its tools"
        );
        copy(&made, &seeds);
    }
    let seeds = Path::new(&directory).join("registry");
    fs::create_dir_all(&seeds).expect("a directory for seeds");
    copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/registry/xml/tests/samples")), &seeds);
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("what was made") {
        let entry = entry.expect("what was made");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}
