//! The table of `docs/security.md`, case by case.

use super::*;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

/// `vm/a.vmdk` is the image; `out` and `far/away` lie elsewhere.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        for directory in ["vm/sub/below", "far"] {
            fs::create_dir_all(scene.path(directory)).unwrap();
        }
        for name in ["out", "far/away", "vm/in", "vm/sub/deep", "vm/a:b.vmdk", "vm/sub/below/in"] {
            fs::write(scene.path(name), name).unwrap();
        }
        for (target, link) in [
            ("../out", "vm/leads-out"),
            ("in", "vm/stays"),
            ("sub/../in", "vm/sub-and-back"),
            ("../vm/in", "vm/out-and-back"),
            ("../far", "vm/directory-out"),
            ("/dev/null", "vm/null"),
            ("/proc/self/status", "vm/status"),
            ("loop", "vm/loop"),
        ] {
            symlink(target, scene.path(link)).unwrap();
        }
        symlink(scene.path("vm/in"), scene.path("vm/absolute-stays")).unwrap();
        fs::hard_link(scene.path("vm/in"), scene.path("vm/hard")).unwrap();
        nix::unistd::mkfifo(&scene.path("vm/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        nix::unistd::mkfifo(&scene.path("far/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Which of the scene's files a name in the image leads to, or why to none.
    fn follow(&self, name: impl AsRef<OsStr>, allowed: &Allowed) -> Result<String, String> {
        let reading = self.open(name.as_ref(), false, allowed);
        let writing = self.open(name.as_ref(), true, allowed);
        assert_eq!(reading.is_ok(), writing.is_ok(), "one rule for both: {reading:?} {writing:?}");
        reading
    }

    fn open(&self, name: &OsStr, writable: bool, allowed: &Allowed) -> Result<String, String> {
        let opened = open_named(&self.path("vm/a.vmdk"), name, writable, allowed);
        match opened {
            Ok((file, _)) => Ok(io::read_to_string(file).unwrap()),
            Err(error) => Err(crate::error_kind::message(&error)),
        }
    }
}

#[test]
fn names_lead_next_to_the_image_or_below_its_directory() {
    let scene = Scene::new();
    for (name, file) in [
        ("in", "vm/in"),
        ("./in", "vm/in"),
        ("sub/deep", "vm/sub/deep"),
        ("sub/../in", "vm/in"),
        (r"sub\deep", "vm/sub/deep"),
        (r".\sub\below\in", "vm/sub/below/in"),
        ("a:b.vmdk", "vm/a:b.vmdk"),
        ("hard", "vm/in"),
        ("stays", "vm/in"),
        ("sub-and-back", "vm/in"),
        // These leave the directory on their way, and what they lead to lies in it.
        ("out-and-back", "vm/in"),
        ("absolute-stays", "vm/in"),
        ("../vm/in", "vm/in"),
    ] {
        assert_eq!(scene.follow(name, &Allowed::NONE), Ok(file.to_owned()), "{name}");
    }
    let absolute = scene.path("vm/sub/deep");
    assert_eq!(scene.follow(absolute, &Allowed::NONE), Ok("vm/sub/deep".to_owned()));
}

#[test]
fn names_that_lead_elsewhere_need_the_users_word() {
    let scene = Scene::new();
    let absolute = scene.path("out").into_os_string().into_string().unwrap();
    for (name, file) in [
        ("../out", "out"),
        ("sub/../../out", "out"),
        (r"..\out", "out"),
        ("leads-out", "out"),
        ("directory-out/away", "far/away"),
        (&*absolute, "out"),
        ("/etc/passwd", "/etc/passwd"),
    ] {
        let error = scene.follow(name, &Allowed::NONE).unwrap_err();
        assert!(error.contains("may only name files next to it or below its directory"), "{name}: {error}");
        let advised = error.rsplit("--allow-file ").next().unwrap();
        let allowed = Allowed::new(&[advised]).unwrap();
        let scene_file = fs::metadata(scene.path(file)).unwrap();
        assert_eq!(fs::metadata(advised).unwrap().ino(), scene_file.ino(), "{name}: {error}");
        if file != "/etc/passwd" {
            assert_eq!(scene.follow(name, &allowed), Ok(file.to_owned()), "{name}");
        }
        let other = Allowed::new(&[scene.path("vm/in")]).unwrap();
        assert!(scene.follow(name, &other).is_err(), "{name}: another file was allowed");
    }
}

#[test]
fn absolute_names_of_a_moved_image_are_looked_for_next_to_it() {
    let scene = Scene::new();
    for name in ["/old/home/in", r"C:\VMs\in", "D:/VMs/in", r"\\server\share\in"] {
        assert_eq!(scene.follow(name, &Allowed::NONE), Ok("vm/in".to_owned()), "{name}");
    }
    // The copy next to the image is nearer than the original, unless the user says otherwise.
    fs::write(scene.path("vm/out"), "the copy").unwrap();
    assert_eq!(scene.follow(scene.path("out"), &Allowed::NONE), Ok("the copy".to_owned()));
    let allowed = Allowed::new(&[scene.path("out")]).unwrap();
    assert_eq!(scene.follow(scene.path("out"), &allowed), Ok("out".to_owned()));
    let error = scene.follow("/old/home/gone", &Allowed::NONE).unwrap_err();
    assert!(error.starts_with("Cannot find /old/home/gone: ") && error.contains("a.vmdk names it"), "{error}");
    // A relative name is where it says, or nowhere.
    let error = scene.follow("gone/in", &Allowed::NONE).unwrap_err();
    assert!(error.contains("vm/gone/in: ") && error.contains("a.vmdk names it"), "{error}");
}

#[test]
fn what_is_no_regular_file_is_refused_without_being_opened() {
    let scene = Scene::new();
    let pipe = scene.path("far/pipe").into_os_string().into_string().unwrap();
    let own = format!("/proc/{}/status", std::process::id());
    for (name, part) in [
        ("", "no file name"),
        ("a\0b", "no file name"),
        ("/dev/gone", "names the device \"/dev/gone\"; give the device itself"),
        (r"\\.\PhysicalDrive0", "names the device"),
        ("/dev/null", "it is a device, and not a regular file"),
        ("null", "it is a device, and not a regular file"),
        ("../../../../../../../../../dev/null", "it is a device, and not a regular file"),
        ("pipe", "is not a regular file"),
        (&pipe, "is not a regular file"),
        ("sub", "it is a directory"),
        (".", "it is a directory"),
        ("..", "it is a directory"),
        ("loop", "too many symbolic links"),
        ("status", "through a link of /proc"),
        ("/proc/self/fd/0", "through a link of /proc"),
        ("/proc/version", "it is a file of the kernel's own"),
        (&own, "it is a file of the kernel's own"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "it is a file of the kernel's own"),
        ("nbd://host/disk", "only local files are opened"),
        ("json:{\"driver\":\"host_device\"}", "only local files are opened"),
    ] {
        let error = scene.follow(name, &Allowed::NONE).unwrap_err();
        // `/proc/self` itself is an ordinary link, so both answers are right for what is below it.
        let is_kernels = part.contains("/proc") && error.contains("the kernel's own");
        assert!(error.contains(part) || is_kernels, "{name}: {error}");
    }
    assert!(Allowed::new(&[scene.path("vm/pipe")]).is_err());
    assert!(Allowed::new(&[scene.path("vm/gone")]).is_err());
}

#[test]
fn a_link_to_an_open_file_leads_nowhere() {
    let scene = Scene::new();
    let secret = fs::File::open(scene.path("out")).unwrap();
    let link = format!("/proc/self/fd/{}", secret.as_raw_fd());
    let error = scene.follow(&link, &Allowed::NONE).unwrap_err();
    assert!(error.contains("through a link of /proc"), "{error}");
    let error = open(Path::new(&link), false, Policy::Registered).unwrap_err().to_string();
    assert!(error.contains("through a link of /proc"), "{error}");
    open(Path::new(&link), false, Policy::Given).unwrap();
}

#[test]
fn the_registry_names_regular_files_anywhere() {
    let scene = Scene::new();
    for name in ["out", "vm/leads-out"] {
        let file = open(&scene.path(name), true, Policy::Registered).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "out");
    }
    for path in [scene.path("vm/pipe"), scene.path("vm"), "/dev/null".into(), "/proc/version".into()] {
        assert_eq!(open(&path, false, Policy::Registered).unwrap_err().kind(), ErrorKind::Refused, "{path:?}");
    }
    assert_eq!(open(&scene.path("gone"), false, Policy::Registered).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_link_that_is_swapped_while_it_is_followed_never_leads_out() {
    let scene = Scene::new();
    let (link, next) = (scene.path("vm/swapped"), scene.path("vm/next"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for target in ["in", "../out"].iter().cycle() {
                symlink(target, &next).unwrap();
                fs::rename(&next, &link).unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let (mut inside, mut refused) = (0, 0);
        while inside < 50 || refused < 50 {
            match scene.open(OsStr::new("swapped"), false, &Allowed::NONE) {
                Ok(content) => {
                    assert_eq!(content, "vm/in");
                    inside += 1;
                }
                Err(_) => refused += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_option_is_ready_to_copy() {
    assert_eq!(option(Path::new("/vms/büro/a-flat.vmdk")), "--allow-file /vms/büro/a-flat.vmdk");
    assert_eq!(option(Path::new("/vms/it's $HOME")), r"--allow-file '/vms/it'\''s $HOME'");
}

#[test]
fn a_file_has_one_identity_under_all_its_names() {
    use crate::storage::file_identity;
    let scene = Scene::new();
    let identity = |name: &str| file_identity(&scene.path(name)).unwrap();
    for name in ["vm/hard", "vm/stays", "vm/../vm/in"] {
        assert_eq!(identity("vm/in"), identity(name));
    }
    assert_ne!(identity("vm/in"), identity("out"));
    assert_eq!(file_identity(&scene.path("gone")), None);
}
