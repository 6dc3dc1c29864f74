//! The manifest of an appliance: a digest of each file, as `SHA1(disk.vmdk)= 4a3b...` (DSP0243, 10.1.1). It lies next
//! to the descriptor and is named as it, with the extension `.mf`. Certificates (`.cert`) are not looked at.

use super::source::descriptor_of;
use crate::error_kind::ErrorKind;
use crate::registry::{Error, Result};
use crate::storage::gate::directory_of;
use crate::storage::{self, Allowed, local};
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha384, Sha512};
use std::fmt;
use std::path::{Path, PathBuf};

/// The largest manifest that is read, in bytes.
const LARGEST: usize = 1 << 20;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// The digests of an appliance's files.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The manifest itself.
    pub path: PathBuf,
    /// Its lines.
    pub entries: Vec<ManifestEntry>,
    /// The directory of the appliance, or the archive.
    directory: PathBuf,
}

/// A digest of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManifestEntry {
    /// The file, as the manifest names it.
    pub name: String,
    /// What the digest must be.
    pub digest: Digest,
}

/// A digest and how it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest {
    /// `SHA1`, `SHA256`, `SHA384` or `SHA512`.
    pub algorithm: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.algorithm)?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Manifest {
    /// The manifest of the appliance at a path: of its descriptor, or of the archive that has it. None for an appliance
    /// without one, and for what is no appliance.
    ///
    /// # Errors
    /// What is wrong with the appliance or the manifest.
    pub(crate) fn of(appliance: &Path) -> Result<Option<Self>> {
        let Some(descriptor) = descriptor_of(appliance)? else { return Ok(None) };
        let path = descriptor.path.with_extension("mf");
        let directory = directory_of(&descriptor.path).to_path_buf();
        let file = match local::open_near(&path, false, &directory, &Allowed::NONE) {
            Err(storage::Error::Io(e)) if e.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let bytes = storage::read_up_to(&*file, 0, LARGEST + 1)?;
        if bytes.len() > LARGEST {
            return Err(Error::Unsupported { path, reason: format!("it has more than {LARGEST} bytes") });
        }
        let entries = parse(&bytes).map_err(|(line, found)| Error::Settings {
            path: path.clone(),
            line,
            expected: "a line as SHA256(FILE)= DIGEST".to_owned(),
            found,
        })?;
        Ok(Some(Self { path, entries, directory }))
    }

    /// Reads the file of an entry and compares its digest: none when it is the right one, and else the one that it has.
    /// `progress` is called with the bytes that were read since its last call, and stops the reading with an error.
    ///
    /// # Errors
    /// [`Error::Image`] when the file cannot be read; the error of `progress`.
    pub(crate) fn verify<E: From<Error>>(
        &self,
        entry: &ManifestEntry,
        progress: &mut dyn FnMut(u64) -> Result<(), E>,
    ) -> Result<Option<Digest>, E> {
        let open = local::open_near(&self.directory.join(&entry.name), false, &self.directory, &Allowed::NONE);
        let file = open.map_err(Error::from)?;
        let (mut at, end) = (0, storage::length(&*file).map_err(Error::from)?);
        let mut hash = hasher(entry.digest.algorithm);
        let mut buffer = vec![0; CHUNK];
        while at < end {
            let len = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
            storage::read_exact(&*file, &mut buffer[..len], at, "file of an appliance").map_err(Error::from)?;
            hash.update(&buffer[..len]);
            at += len as u64;
            progress(len as u64)?;
        }
        let found = Digest { algorithm: entry.digest.algorithm, bytes: hash.finalize().into_vec() };
        Ok((found != entry.digest).then_some(found))
    }

    /// The bytes of all files that it names, for a progress bar; those that cannot be opened count for none.
    #[must_use]
    pub(crate) fn total(&self) -> u64 {
        let open = |name: &str| local::open_near(&self.directory.join(name), false, &self.directory, &Allowed::NONE);
        let len = |entry: &ManifestEntry| open(&entry.name).and_then(|file| storage::length(&*file)).unwrap_or(0);
        self.entries.iter().map(len).fold(0, u64::saturating_add)
    }
}

fn hasher(algorithm: &str) -> Box<dyn DynDigest> {
    match algorithm {
        "SHA1" => Box::new(Sha1::default()),
        "SHA384" => Box::new(Sha384::default()),
        "SHA512" => Box::new(Sha512::default()),
        _ => Box::new(Sha256::default()),
    }
}

/// The lines of a manifest; of a wrong one its number, from 1, and what it is.
fn parse(bytes: &[u8]) -> Result<Vec<ManifestEntry>, (usize, String)> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            entry(line.trim()).ok_or_else(|| (at + 1, format!("{:?}", line.chars().take(80).collect::<String>())))
        })
        .collect()
}

/// `SHA256(disk.vmdk)= 4a3b...`; VirtualBox writes a blank before the bracket. A name may have brackets too.
fn entry(line: &str) -> Option<ManifestEntry> {
    let (algorithm, rest) = line.split_once('(')?;
    let (name, digits) = rest.rsplit_once('=')?;
    let name = name.trim_end().strip_suffix(')')?;
    let algorithm = match &*algorithm.trim().to_ascii_uppercase().replace('-', "") {
        "SHA1" => "SHA1",
        "SHA256" => "SHA256",
        "SHA384" => "SHA384",
        "SHA512" => "SHA512",
        _ => return None,
    };
    let digits = digits.trim();
    let is_hex = digits.len() == 2 * hasher(algorithm).output_size() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok());
    let bytes = if is_hex { bytes.collect::<Option<Vec<u8>>>()? } else { return None };
    Some(ManifestEntry { name: name.to_owned(), digest: Digest { algorithm, bytes } })
}
