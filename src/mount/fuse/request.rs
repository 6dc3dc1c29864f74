//! Requests of the kernel, from their bytes.

use super::abi::{IN_HEADER, opcode};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mount) struct Request<'a> {
    /// What its answer refers to.
    pub(super) unique: u64,
    /// The inode that it is about.
    pub(in crate::mount) node: u64,
    /// The user on whose behalf it comes.
    pub(in crate::mount) uid: u32,
    /// What is wanted.
    pub(in crate::mount) operation: Operation<'a>,
}

/// What a request wants. Offsets and sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mount) enum Operation<'a> {
    Init {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u64,
    },
    Destroy,
    Lookup {
        name: &'a OsStr,
    },
    /// One or more inodes are forgotten. Has no answer.
    Forget,
    GetAttr,
    SetAttr(SetAttr),
    ReadLink,
    /// Makes, removes or renames something.
    ChangeNames,
    Open {
        flags: u32,
    },
    Read {
        offset: u64,
        size: usize,
    },
    Write {
        offset: u64,
        data: &'a [u8],
    },
    Fallocate {
        offset: u64,
        len: u64,
        mode: u32,
    },
    Seek {
        offset: u64,
        whence: u32,
    },
    Flush,
    Fsync,
    /// A file or folder is closed.
    Release,
    OpenDir,
    ReadDir {
        offset: u64,
        size: usize,
        plus: bool,
    },
    StatFs,
    GetXattr {
        name: &'a OsStr,
        size: u32,
    },
    ListXattr {
        size: u32,
    },
    /// What this server does not do.
    Unknown,
}

/// For the log: without the bytes of a write.
impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { offset, data } => write!(f, "Write {{ offset: {offset}, len: {} }}", data.len()),
            other => write!(f, "{other:?}"),
        }
    }
}

/// The attributes that are to be set, `fuse_setattr_in`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::mount) struct SetAttr {
    pub(in crate::mount) mode: Option<u32>,
    pub(in crate::mount) uid: Option<u32>,
    pub(in crate::mount) gid: Option<u32>,
    pub(in crate::mount) size: Option<u64>,
    /// Whether times are set.
    pub(in crate::mount) times: bool,
    /// Whether it is done through an open file.
    pub(in crate::mount) by_handle: bool,
}

/// The fields of a structure one after another; `None` past its end.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*first))
    }

    fn u64(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*first))
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    /// A name with a zero at its end.
    fn name(&self) -> Option<&'a OsStr> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        Some(OsStr::from_bytes(&self.0[..end]))
    }
}

impl<'a> Request<'a> {
    /// The request that `bytes` are; `None` when they are none.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_at_checked(IN_HEADER)?;
        let mut header = Fields(header);
        let len = header.size()?;
        let opcode = header.u32()?;
        let (unique, node, uid) = (header.u64()?, header.u64()?, header.u32()?);
        let body = body.get(..len.checked_sub(IN_HEADER)?)?;
        Some(Self { unique, node, uid, operation: operation(opcode, Fields(body))? })
    }
}

fn operation(code: u32, mut body: Fields<'_>) -> Option<Operation<'_>> {
    Some(match code {
        opcode::INIT => {
            let (major, minor) = (body.u32()?, body.u32()?);
            let (max_readahead, low) = (body.u32().unwrap_or(0), body.u32().unwrap_or(0));
            let flags = u64::from(low) | u64::from(body.u32().unwrap_or(0)) << 32;
            Operation::Init { major, minor, max_readahead, flags }
        }
        opcode::DESTROY => Operation::Destroy,
        opcode::LOOKUP => Operation::Lookup { name: body.name()? },
        opcode::FORGET | opcode::BATCH_FORGET => Operation::Forget,
        opcode::GETATTR => Operation::GetAttr,
        opcode::SETATTR => Operation::SetAttr(set_attr(body)?),
        opcode::READLINK => Operation::ReadLink,
        opcode::SYMLINK
        | opcode::MKNOD
        | opcode::MKDIR
        | opcode::UNLINK
        | opcode::RMDIR
        | opcode::RENAME
        | opcode::RENAME2
        | opcode::LINK
        | opcode::CREATE
        | opcode::TMPFILE => Operation::ChangeNames,
        opcode::OPEN => Operation::Open { flags: body.u32()? },
        opcode::OPENDIR => Operation::OpenDir,
        opcode::RELEASE | opcode::RELEASEDIR => Operation::Release,
        opcode::FLUSH => Operation::Flush,
        opcode::FSYNC => Operation::Fsync,
        opcode::STATFS => Operation::StatFs,
        opcode::READ | opcode::READDIR | opcode::READDIRPLUS => {
            let _handle = body.u64()?;
            let (offset, size) = (body.u64()?, body.size()?);
            match code {
                opcode::READ => Operation::Read { offset, size },
                _ => Operation::ReadDir { offset, size, plus: code == opcode::READDIRPLUS },
            }
        }
        opcode::WRITE => {
            let _handle = body.u64()?;
            let (offset, size) = (body.u64()?, body.size()?);
            let (_write_flags, _lock_owner, _flags, _padding) = (body.u32()?, body.u64()?, body.u32()?, body.u32()?);
            Operation::Write { offset, data: body.0.get(..size)? }
        }
        opcode::FALLOCATE => {
            let _handle = body.u64()?;
            Operation::Fallocate { offset: body.u64()?, len: body.u64()?, mode: body.u32()? }
        }
        opcode::LSEEK => {
            let _handle = body.u64()?;
            Operation::Seek { offset: body.u64()?, whence: body.u32()? }
        }
        opcode::GETXATTR => {
            let (size, _padding) = (body.u32()?, body.u32()?);
            Operation::GetXattr { name: body.name()?, size }
        }
        opcode::LISTXATTR => Operation::ListXattr { size: body.u32()? },
        _ => Operation::Unknown,
    })
}

/// `FATTR_*`, the bits of `valid`.
fn set_attr(mut body: Fields<'_>) -> Option<SetAttr> {
    let (valid, _padding) = (body.u32()?, body.u32()?);
    let (_handle, size, _lock_owner) = (body.u64()?, body.u64()?, body.u64()?);
    let (_accessed, _modified, _changed) = (body.u64()?, body.u64()?, body.u64()?);
    let (_accessed_ns, _modified_ns, _changed_ns) = (body.u32()?, body.u32()?, body.u32()?);
    let (mode, _unused, uid, gid) = (body.u32()?, body.u32()?, body.u32()?, body.u32()?);
    let has = |bit: u32| valid & 1 << bit != 0;
    Some(SetAttr {
        mode: has(0).then_some(mode),
        uid: has(1).then_some(uid),
        gid: has(2).then_some(gid),
        size: has(3).then_some(size),
        times: has(4) || has(5),
        by_handle: has(6),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request as the kernel sends it.
    pub(in crate::mount::fuse) fn bytes(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(IN_HEADER + body.len()).unwrap();
        let mut all = [len.to_ne_bytes(), opcode.to_ne_bytes()].concat();
        all.extend(77_u64.to_ne_bytes());
        all.extend(node.to_ne_bytes());
        all.extend([1000_u32, 100, 4711, 0].map(u32::to_ne_bytes).concat());
        all.extend(body);
        all
    }

    fn parsed(opcode: u32, body: &[u8]) -> Operation<'static> {
        let all = bytes(opcode, 5, body).leak();
        let request = Request::parse(all).unwrap();
        assert_eq!((request.unique, request.node, request.uid), (77, 5, 1000));
        request.operation
    }

    #[test]
    fn requests() {
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let pair = |low: u32, high: u32| {
            u64::from_ne_bytes([low.to_ne_bytes(), high.to_ne_bytes()].concat().try_into().unwrap())
        };
        assert_eq!(parsed(1, b"a b\0"), Operation::Lookup { name: OsStr::new("a b") });
        assert_eq!(parsed(15, &words(&[9, 4096, pair(512, 0), 0, 0])), Operation::Read { offset: 4096, size: 512 });
        let mut write = words(&[9, 7, pair(3, 0), 0, 0]);
        write.extend(b"xyz");
        assert_eq!(parsed(16, &write), Operation::Write { offset: 7, data: b"xyz" });
        assert_eq!(
            parsed(44, &words(&[0, 2, pair(4096, 0), 0, 0])),
            Operation::ReadDir { offset: 2, size: 4096, plus: true }
        );
        let mut xattr = words(&[pair(64, 0)]);
        xattr.extend(b"user.x\0");
        assert_eq!(parsed(22, &xattr), Operation::GetXattr { name: OsStr::new("user.x"), size: 64 });
        let set = words(&[pair(0b100_1101, 0), 9, 42, 0, 0, 0, 0, 0, pair(0, 0o644), pair(0, 8), pair(6, 0)]);
        let expected =
            SetAttr { mode: Some(0o644), uid: None, gid: Some(6), size: Some(42), times: false, by_handle: true };
        assert_eq!(parsed(4, &set), Operation::SetAttr(expected));
        assert_eq!(parsed(99, b""), Operation::Unknown);
        let init = [7_u32, 45, 131_072, 1 << 30 | 1, 1 << 4].map(u32::to_ne_bytes).concat();
        let flags = 1 << 36 | 1 << 30 | 1;
        assert_eq!(parsed(26, &init), Operation::Init { major: 7, minor: 45, max_readahead: 131_072, flags });
    }

    #[test]
    fn what_is_cut_short_is_no_request() {
        let whole = bytes(16, 5, &[0; 40]);
        assert!(Request::parse(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(Request::parse(&whole[..len]), None, "{len}");
        }
        assert_eq!(Request::parse(&bytes(1, 5, b"no end")), None);
        // A write of more bytes than came with it.
        let mut short = bytes(16, 5, &[0; 40]);
        short[IN_HEADER + 16] = 1;
        assert_eq!(Request::parse(&short), None);
    }
}
