//! Megabytes per second of AES-XTS on one core: ours, and the `xts-mode` crate's. `benches/crypt.sh` puts OpenSSL's
//! beside them, and measures mounted disks.

use aes::cipher::KeyInit;
use aes::{Aes128, Aes256};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use sectors::{SECTOR, SectorCipher};
use xts_mode::{Xts128, get_tweak_default};

// No business of the library's users.
#[allow(dead_code, reason = "keys are unwrapped by the library only")]
#[path = "../src/crypt/sectors.rs"]
mod sectors;

/// Bytes of a request: one sector, a page, and what the kernel asks FUSE for.
const REQUESTS: [usize; 4] = [512, 4096, 128 << 10, 1 << 20];

fn main() {
    divan::main();
}

fn measure(bencher: Bencher, len: usize, mut work: impl FnMut(&mut [u8])) {
    let mut bytes = vec![0x5A; len];
    bencher.counter(BytesCount::new(len)).bench_local(|| work(black_box(&mut bytes)));
}

fn key(bits: usize) -> Vec<u8> {
    (0..=255).take(bits / 4).collect()
}

#[divan::bench(args = REQUESTS, consts = [128, 256])]
fn decrypt<const BITS: usize>(bencher: Bencher, len: usize) {
    let cipher = SectorCipher::new(&key(BITS)).expect("the key has the right length");
    measure(bencher, len, |bytes| cipher.decrypt(bytes, 1 << 20));
}

#[divan::bench(args = REQUESTS, consts = [128, 256])]
fn encrypt<const BITS: usize>(bencher: Bencher, len: usize) {
    let cipher = SectorCipher::new(&key(BITS)).expect("the key has the right length");
    measure(bencher, len, |bytes| cipher.encrypt(bytes, 1 << 20));
}

#[divan::bench(args = REQUESTS)]
fn xts_mode_decrypt_128(bencher: Bencher, len: usize) {
    let key = key(128);
    let aes = |half: &[u8]| Aes128::new_from_slice(half).expect("the key has the right length");
    let xts = Xts128::new(aes(&key[..16]), aes(&key[16..]));
    measure(bencher, len, |bytes| xts.decrypt_area(bytes, SECTOR, 1 << 20, get_tweak_default));
}

#[divan::bench(args = REQUESTS)]
fn xts_mode_decrypt_256(bencher: Bencher, len: usize) {
    let key = key(256);
    let aes = |half: &[u8]| Aes256::new_from_slice(half).expect("the key has the right length");
    let xts = Xts128::new(aes(&key[..32]), aes(&key[32..]));
    measure(bencher, len, |bytes| xts.decrypt_area(bytes, SECTOR, 1 << 20, get_tweak_default));
}

/// One request cut in two, each half on a thread of its own: what the mount would gain by it.
#[divan::bench(args = [128 << 10, 1 << 20])]
fn decrypt_256_in_two_threads(bencher: Bencher, len: usize) {
    let cipher = SectorCipher::new(&key(256)).expect("the key has the right length");
    measure(bencher, len, |bytes| {
        let (first, second) = bytes.split_at_mut(len / 2);
        std::thread::scope(|scope| {
            scope.spawn(|| cipher.decrypt(second, (1 << 20) + (len / 2 / SECTOR) as u64));
            cipher.decrypt(first, 1 << 20);
        });
    });
}
