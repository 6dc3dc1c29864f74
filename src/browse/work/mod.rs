//! The work that takes time. Each job is a thread, which says what it has on the channel of messages and looks whether
//! it is to stop; a job that waits for a file system that is gone keeps nobody else from working.

mod comparing;
mod copying;
mod files;
mod images;
mod mounting;

use super::Options;
use super::model::message::{Event, Failure, Job, JobId, Message};
use crate::crypt::{self, Key, Passwords};
use crate::error_kind::message;
use crate::open::{self, Lookup};
use crate::registry;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What jobs need.
struct Tools {
    lookup: Lookup,
    disk: open::DiskOptions,
    /// The options of the command line that a mount needs too.
    words: Vec<OsString>,
}

/// Starts and stops jobs.
pub(super) struct Workers {
    tools: Arc<Tools>,
    messages: Sender<Message>,
    answers: Sender<Option<Key>>,
    stops: HashMap<JobId, Arc<AtomicBool>>,
}

/// What a job says, and whether it is to stop.
struct Teller {
    id: JobId,
    messages: Sender<Message>,
    stop: Arc<AtomicBool>,
}

impl Workers {
    /// Workers that find and open what the options say, and say what they have to `messages`.
    pub(super) fn new(options: Options, messages: Sender<Message>) -> Self {
        let (answers, answered) = channel();
        let ask = prompt(messages.clone(), answered, options.on_password);
        let passwords = Passwords::new(options.password_files, Some(Box::new(ask)));
        let lookup = Lookup { settings: options.settings, allowed: options.allowed, passwords };
        let tools = Arc::new(Tools { lookup, disk: options.disk, words: options.words });
        Self { tools, messages, answers, stops: HashMap::new() }
    }

    /// Starts a job.
    pub(super) fn start(&mut self, id: JobId, job: Job) {
        self.stops.retain(|_, stop| Arc::strong_count(stop) > 1);
        let stop = Arc::new(AtomicBool::new(false));
        self.stops.insert(id, stop.clone());
        let teller = Teller { id, messages: self.messages.clone(), stop };
        let tools = self.tools.clone();
        thread::spawn(move || {
            run(&tools, job, &teller);
            // Nobody listens any more when the program ends.
            let _ = teller.messages.send(Message::Ended(id));
        });
    }

    /// Asks a job to stop.
    pub(super) fn stop(&mut self, id: JobId) {
        if let Some(stop) = self.stops.remove(&id) {
            stop.store(true, Ordering::Relaxed);
        }
    }

    /// Gives the job that waits for a password its answer.
    pub(super) fn answer(&self, password: Option<Key>) {
        let _ = self.answers.send(password);
    }
}

/// The prompt of [`Passwords`]: the browser asks, and this thread waits.
fn prompt(
    messages: Sender<Message>,
    answered: Receiver<Option<Key>>,
    on_password: fn(),
) -> impl Fn(&str, &str) -> io::Result<Key> + Send + Sync {
    let answered = Mutex::new(answered);
    move |what, key_id| {
        let waiting = answered.lock().unwrap_or_else(PoisonError::into_inner);
        on_password();
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        let ask = Message::Ask { what: what.to_owned(), key_id: key_id.to_owned() };
        messages.send(ask).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        waiting.recv().map_err(gone)?.ok_or_else(|| io::ErrorKind::Interrupted.into())
    }
}

impl Teller {
    fn say(&self, event: Event) {
        let _ = self.messages.send(Message::Job(self.id, event));
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn run(tools: &Tools, job: Job, teller: &Teller) {
    let event = match job {
        Job::Registry(machine) => {
            let machine = machine.map(|path| path.to_string_lossy().into_owned());
            let read = tools.lookup.registry(machine.as_deref());
            Event::Registry(read.map(Arc::new).map_err(|e| tools.failure(&e)))
        }
        Job::Media(registry, ids) => Event::Media(images::media(tools, &registry, &ids)),
        Job::Open(which) => Event::Opened(images::open(tools, &which).map(Arc::new).map_err(|e| tools.failure(&e))),
        Job::Locks(title, paths) => Event::Report(title, images::locks(tools, &paths)),
        Job::Diff(title, states, path) => Event::Report(title, comparing::diff(tools, &states, &path, teller)),
        Job::History(title, which, path) => Event::Report(title, comparing::history(tools, &which, &path, teller)),
        Job::List(opened, inode) => Event::Listed(files::list(&opened, inode, teller)),
        Job::Preview(file) => Event::Preview(files::preview(&file)),
        Job::Text(file) => Event::Text(files::text(&file, teller)),
        Job::Bytes(file, offset, len) => Event::Bytes(offset, files::bytes(&file, offset, len)),
        Job::Find(file, from, needle) => Event::Found(files::find(&file, from, &needle, teller)),
        Job::Copy(copying) => copying::copy(copying, teller),
        Job::Mount(mount) => Event::Mounted(mounting::mount(tools, &mount, teller)),
        Job::Unmount(point) => Event::Unmounted(crate::mount::unmount(&point).map_err(|e| message(&e))),
    };
    teller.say(event);
}

impl Tools {
    /// What a failure says. A password that was wrong is asked for again.
    fn failure(&self, error: &open::Error) -> Failure {
        let crypt = match error {
            open::Error::Crypt(e) => Some(&**e),
            open::Error::Registry(e) => match &**e {
                registry::Error::Crypt(e) => Some(e),
                _ => None,
            },
            _ => None,
        };
        let wrong_password = match crypt {
            // One from a file stays wrong.
            Some(crypt::Error::WrongPassword { key_id, .. }) => {
                self.lookup.passwords.forget(key_id).then(|| key_id.clone())
            }
            _ => None,
        };
        Failure { text: message(error), wrong_password }
    }
}
