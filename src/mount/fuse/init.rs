//! The handshake with the kernel.

use super::abi::{MAJOR, MAX_BACKGROUND, MAX_WRITE, MIN_READ_BUFFER, MINOR, OLDEST_MINOR, init_flags};
use super::device::Device;
use super::reply::Body;
use super::request::{Operation, Request};
use nix::errno::Errno;
use std::io;

/// What is asked of the kernel where it has it.
const WANTED: u64 = init_flags::ASYNC_READ
    | init_flags::BIG_WRITES
    | init_flags::DO_READDIRPLUS
    | init_flags::READDIRPLUS_AUTO
    | init_flags::ASYNC_DIO
    | init_flags::PARALLEL_DIROPS
    | init_flags::MAX_PAGES
    | init_flags::CACHE_SYMLINKS
    | init_flags::HANDLE_KILLPRIV_V2
    | init_flags::INIT_EXT
    | init_flags::DIRECT_IO_ALLOW_MMAP;

/// Waits for the kernel's first request and answers it.
pub(super) fn shake_hands(device: &Device) -> io::Result<()> {
    // The kernel wants more room for a request only once it knows how much may be written at once.
    let mut buf = [0; MIN_READ_BUFFER];
    loop {
        let Some((len, _)) = device.receive(&mut buf)? else {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "it was unmounted at once"));
        };
        let odd = || io::Error::new(io::ErrorKind::InvalidData, "the kernel did not begin with a handshake");
        let request = Request::parse(&buf[..len]).ok_or_else(odd)?;
        let Operation::Init { major, minor, max_readahead, flags } = request.operation else {
            device.send(request.unique, Err(Errno::EIO));
            return Err(odd());
        };
        let mut body = Body::default();
        if major > MAJOR {
            // The kernel then asks again, in this version.
            answer(&mut body, 0, 0);
            device.send(request.unique, Ok(&body.0));
            continue;
        }
        if (major, minor) < (MAJOR, OLDEST_MINOR) {
            device.send(request.unique, Err(Errno::EPROTO));
            let text = format!("the kernel's FUSE {major}.{minor} is older than {MAJOR}.{OLDEST_MINOR} (Linux 4.20)");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        log::debug!("FUSE {major}.{minor}, {:#x} of the features {WANTED:#x}", flags & WANTED);
        answer(&mut body, max_readahead, flags & WANTED);
        device.send(request.unique, Ok(&body.0));
        return Ok(());
    }
}

/// `fuse_init_out`.
fn answer(body: &mut Body, max_readahead: u32, flags: u64) {
    let max_write = u32::try_from(MAX_WRITE).unwrap_or(u32::MAX);
    let [low, high] = [flags & u64::from(u32::MAX), flags >> 32].map(|half| u32::try_from(half).unwrap_or(0));
    body.u32(MAJOR);
    body.u32(MINOR);
    body.u32(max_readahead);
    body.u32(low);
    body.u16(MAX_BACKGROUND);
    body.u16(MAX_BACKGROUND / 4 * 3); // congestion_threshold
    body.u32(max_write);
    body.u32(1); // time_gran, in nanoseconds
    body.u16(u16::try_from(max_write / 4096).unwrap_or(u16::MAX)); // max_pages
    body.u16(0); // map_alignment
    body.u32(high); // flags2
    body.u32(0); // max_stack_depth
    body.u16(0); // request_timeout
    for unused in [0; 11] {
        body.u16(unused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_kernels_layout() {
        let mut body = Body::default();
        answer(&mut body, 131_072, 1 << 36 | 1 << 30 | 1);
        assert_eq!(body.0.len(), 64);
        let word = |at: usize| u32::from_ne_bytes(body.0[at..at + 4].try_into().unwrap());
        assert_eq!([word(0), word(8), word(12), word(20), word(32)], [7, 131_072, 1 << 30 | 1, 1 << 20, 1 << 4]);
        assert_eq!(body.0[28..30], 256_u16.to_ne_bytes());
    }
}
