//! Serving a mount: threads that receive requests, one at a time, and answer them, several at a time.

use super::abi::{MAX_READ, MAX_WRITE, REQUEST_ROOM};
use super::baton::Baton;
use super::device::{Device, Pipe};
use super::init::shake_hands;
use super::reply::Body;
use super::request::{Operation, Request};
use crate::disk::Part;
use crate::storage::waiting;
use nix::errno::Errno;
use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// The most threads that answer requests, each started when there is nobody to receive the next one. No more of them
/// work than the machine has cores; the others help when requests wait for the host's disk.
const THREADS: usize = 8;
/// Reads of at least this many bytes go from their file to the kernel without a copy; for smaller ones the two more
/// system calls cost more than the copy.
const SPLICE_FROM: usize = 32 << 10;
/// After so many requests that had not to be waited for there is work for more than one thread.
const BUSY: u32 = 16;

/// What answers requests. Its methods run on several threads at once.
pub(in crate::mount) trait Handler: Send + Sync + 'static {
    /// Answers any request but a read, by adding to the empty `body`.
    ///
    /// # Errors
    /// What the program that asked is to hear.
    fn answer(&self, request: &Request<'_>, body: &mut Body) -> Result<(), Errno>;

    /// Where the bytes of a read lie, when all of them lie in files.
    fn parts(&self, node: u64, offset: u64, len: usize) -> Option<Vec<Part>>;

    /// Fills `buf` with the bytes of a read and returns how many there were.
    ///
    /// # Errors
    /// What the program that asked is to hear.
    fn read(&self, node: u64, offset: u64, buf: &mut [u8]) -> Result<usize, Errno>;
}

/// A mount that was made and greeted.
pub(in crate::mount) struct Session<H> {
    shared: Arc<Shared<H>>,
}

struct Shared<H> {
    device: Device,
    handler: H,
    /// The only user besides root whose requests are answered; all are where there is none.
    only: Option<u32>,
    baton: Baton,
    /// Requests in a row that had not to be waited for.
    streak: AtomicU32,
    /// Threads that answer a request and do not wait for the host's disk.
    working: AtomicUsize,
    /// Asked for when it is needed: it takes longer than an answer.
    cores: LazyLock<usize>,
    /// The threads besides the first one.
    helpers: Mutex<Vec<JoinHandle<io::Result<()>>>>,
}

impl<H: Handler> Shared<H> {
    fn helpers(&self) -> MutexGuard<'_, Vec<JoinHandle<io::Result<()>>>> {
        self.helpers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one more thread, if there may be one.
    fn start_helper(self: &Arc<Self>) {
        let mut helpers = self.helpers();
        if helpers.len() + 1 < THREADS {
            let (shared, name) = (self.clone(), format!("serve-{}", helpers.len() + 1));
            match thread::Builder::new().name(name).spawn(move || Worker::new(shared).run()) {
                Ok(helper) => helpers.push(helper),
                Err(e) => log::debug!("Requests are answered by fewer threads: {e}"),
            }
        }
    }
}

impl<H: Handler> Session<H> {
    /// Greets the kernel through the device of a new mount. Where there is an `only`, other users than this one and
    /// root get no access, which the kernel cannot do by itself.
    ///
    /// # Errors
    /// What the operating system says; a kernel that is too old.
    pub(in crate::mount) fn start(handler: H, device: OwnedFd, only: Option<u32>) -> io::Result<Self> {
        let device = Device::new(device)?;
        shake_hands(&device)?;
        let shared = Shared {
            device,
            handler,
            only,
            baton: Baton::default(),
            streak: AtomicU32::new(0),
            working: AtomicUsize::new(0),
            cores: LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from)),
            helpers: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Serves until nothing is mounted any more.
    ///
    /// # Errors
    /// What the operating system says.
    pub(in crate::mount) fn run(self) -> io::Result<()> {
        let mut result = Worker::new(self.shared.clone()).run();
        loop {
            let helper = self.shared.helpers().pop();
            let Some(helper) = helper else { return result };
            let ended = helper.join().unwrap_or_else(|_| Err(io::Error::other("a thread gave up")));
            result = result.and(ended);
        }
    }
}

struct Worker<H> {
    shared: Arc<Shared<H>>,
    body: Body,
    data: Vec<u8>,
    pipe: Option<Pipe>,
    role: Rc<Role>,
}

/// What a thread does at the moment.
#[derive(Default)]
struct Role {
    /// It has the baton.
    receives: Cell<bool>,
    /// It is counted as working.
    works: Cell<bool>,
}

impl Role {
    fn start_work<H>(&self, shared: &Shared<H>) {
        self.works.set(true);
        shared.working.fetch_add(1, Ordering::Relaxed);
    }

    fn end_work<H>(&self, shared: &Shared<H>) {
        if self.works.replace(false) {
            shared.working.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn give_baton<H: Handler>(&self, shared: &Arc<Shared<H>>) {
        if self.receives.replace(false) && !shared.baton.give() {
            shared.start_helper();
        }
    }
}

impl<H: Handler> Worker<H> {
    fn new(shared: Arc<Shared<H>>) -> Self {
        Self { shared, body: Body::default(), data: Vec::new(), pipe: None, role: Rc::default() }
    }

    fn run(mut self) -> io::Result<()> {
        let (shared, role) = (self.shared.clone(), self.role.clone());
        waiting::watch(Box::new(move || {
            role.end_work(&shared);
            role.give_baton(&shared);
        }));
        let (shared, role) = (self.shared.clone(), self.role.clone());
        let mut buf = vec![0; MAX_WRITE + REQUEST_ROOM];
        while shared.baton.take() {
            role.receives.set(true);
            while role.receives.get() {
                let received = shared.device.receive(&mut buf);
                let Ok(Some((len, waited))) = received else {
                    shared.baton.end();
                    return received.map(|_| ());
                };
                let Some(request) = Request::parse(&buf[..len]) else {
                    shared.baton.end();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel sent what is no request"));
                };
                let streak = if waited { 0 } else { shared.streak.load(Ordering::Relaxed).saturating_add(1) };
                shared.streak.store(streak, Ordering::Relaxed);
                role.start_work(&shared);
                let others_help = || shared.working.load(Ordering::Relaxed) < *shared.cores;
                if may_wait(&request.operation) || (streak > BUSY || is_long(&request.operation)) && others_help() {
                    role.give_baton(&shared);
                }
                self.serve(&request);
                role.end_work(&shared);
            }
        }
        Ok(())
    }

    /// Answers a request, whatever happens.
    fn serve(&mut self, request: &Request<'_>) {
        if catch_unwind(AssertUnwindSafe(|| self.try_serve(request))).is_err() {
            log::error!("A request could not be answered because of a mistake in this program; please report it");
            self.shared.device.send(request.unique, Err(Errno::EIO));
        }
    }

    fn try_serve(&mut self, request: &Request<'_>) {
        let Shared { device, handler, only, .. } = &*self.shared;
        let stranger = only.is_some_and(|only| request.uid != only && request.uid != 0);
        match request.operation {
            Operation::Forget => {}
            _ if stranger && !is_of_open_file(&request.operation) => device.send(request.unique, Err(Errno::EACCES)),
            Operation::Read { offset, size } => {
                let size = size.min(MAX_READ.max(MAX_WRITE));
                let parts = if size < SPLICE_FROM { None } else { handler.parts(request.node, offset, size) };
                if parts.is_some_and(|parts| device.send_parts(&mut self.pipe, request.unique, &parts)) {
                    return;
                }
                if self.data.len() < size {
                    self.data.resize(size, 0);
                }
                let read = handler.read(request.node, offset, &mut self.data[..size]);
                device.send(request.unique, read.map(|len| &self.data[..len]));
            }
            _ => {
                self.body.clear();
                let answer = handler.answer(request, &mut self.body);
                device.send(request.unique, answer.map(|()| &*self.body.0));
            }
        }
    }
}

/// Whether it is worth another thread's time to receive the next request meanwhile.
fn is_long(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::Read { size, .. } if *size >= SPLICE_FROM)
}

/// Whether it may wait for the disk in other ways than by reading an image.
fn may_wait(operation: &Operation<'_>) -> bool {
    matches!(
        operation,
        Operation::Write { .. }
            | Operation::Fallocate { .. }
            | Operation::Seek { .. }
            | Operation::Flush
            | Operation::Fsync
    )
}

/// What comes of files and folders that were opened, maybe by another user who passed them on.
fn is_of_open_file(operation: &Operation<'_>) -> bool {
    matches!(
        operation,
        Operation::Read { .. }
            | Operation::Write { .. }
            | Operation::ReadDir { .. }
            | Operation::Fsync
            | Operation::Release
            | Operation::Destroy
    )
}
