//! `fusermount3`, which mounts and unmounts on behalf of ordinary users.

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// The variable in which it finds the number of the socket to send the device to.
const SOCKET_VARIABLE: &str = "_FUSE_COMMFD";

fn helper() -> Command {
    let mut command =
        Command::new(std::env::var_os("FUSERMOUNT_PATH").unwrap_or_else(|| OsString::from("fusermount3")));
    command.env("LC_ALL", "C");
    command
}

/// Mounts on `point` with options as `mount -o` has them, and returns the device. A failure's text is the helper's.
pub(super) fn mount(point: &Path, options: &str) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = helper();
    command.args(["-o", options, "--"]).arg(point).env(SOCKET_VARIABLE, "0");
    // A child has no other descriptors of ours.
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn()?;
    // Else its end of the socket would stay open here, and its failure never be seen.
    drop(command);
    let device = receive(&ours);
    let output = child.wait_with_output()?;
    device?.ok_or_else(|| io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The descriptor that comes through a socket; none when it is closed without one.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.flatten().next())
}

/// Unmounts what is mounted on `point`; with `lazily`, once nothing there is in use any more.
pub(super) fn unmount(point: &Path, lazily: bool) -> io::Result<()> {
    let mut command = helper();
    command.args(if lazily { &["-u", "-z"][..] } else { &["-u"] }).arg("--").arg(point);
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let busy = text.ends_with("Device or resource busy");
    Err(if busy { io::ErrorKind::ResourceBusy.into() } else { io::Error::other(text) })
}
