//! The library that stands between the daemon and the C library: built here, loaded into the real binary.
//!
//! It records each change to the files below one directory in order, makes the n-th one fail, and shifts the wall
//! clock (`tests/data/shim/shim.c` says how it is told). An operation stands in the recording before anybody can
//! see its effect, so the length of the recording when an answer came tells what was done before the answer.

pub mod disk;

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::support::{Daemon, Site, hookwheel, skip};

static BUILT: OnceLock<Result<(TempDir, PathBuf), String>> = OnceLock::new();

/// Compiles the library, once for all tests.
fn build() -> Result<(TempDir, PathBuf), String> {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/shim/shim.c");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"])
        .arg("-o")
        .arg(&library)
        .arg(source)
        .output()
        .map_err(|error| format!("cc cannot be run: {error}"))?;
    // A compiler that is there and refuses the source is no reason to skip.
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((directory, library))
}

/// The library's path. `None` where the machine has no C compiler, which is said.
pub fn library(what: &str) -> Option<&'static Path> {
    match BUILT.get_or_init(build) {
        Ok((_, library)) => Some(library),
        Err(why) => {
            skip(what, why);
            None
        }
    }
}

/// A site whose daemons run with the library, and whose data lies in `disk/data` of the site.
pub struct Rig {
    pub site: Site,
    pub more: String,
    library: &'static Path,
}

impl Rig {
    /// `None` where there is no compiler.
    pub fn new(what: &str, more: &str) -> Option<Self> {
        let library = library(what)?;
        let site = Site::new(&["standard"]);
        fs::create_dir(site.path("disk")).unwrap();
        fs::write(site.path("clock"), [0; 8]).unwrap();
        let more = more.to_owned();
        Some(Self {
            site,
            more,
            library,
        })
    }

    pub fn disk(&self) -> PathBuf {
        self.site.path("disk")
    }

    pub fn recording(&self) -> PathBuf {
        self.site.path("recording")
    }

    /// How long the recording is by now.
    pub fn recorded(&self) -> u64 {
        fs::metadata(self.recording()).map_or(0, |metadata| metadata.len())
    }

    /// Puts the wall clock ahead (or back), for daemons that run and for those to come.
    pub fn shift_clock(&self, ms: i64) {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(self.site.path("clock"))
            .unwrap();
        file.write_all_at(&ms.to_be_bytes(), 0).unwrap();
    }

    fn config(&self, directory: &str) -> PathBuf {
        let path = self.site.path("config.toml");
        let storage = format!(
            "path = \"{directory}/data\"\ndisk_reserve = \"16MiB\"\n{}",
            self.more
        );
        let text = self
            .site
            .config(true)
            .replace("path = \"data\"", &storage)
            .replace("level = \"debug,", "level = \"info,");
        fs::write(&path, text).unwrap();
        path
    }

    /// `hookwheel serve`, recorded, with the clock of the rig; `fail` as the library's variable has it. What a kill tore of
    /// the process before is taken from the recording's end, or nobody could read what comes behind it.
    pub fn command(&self, fail: Option<&str>) -> Command {
        if self.recording().exists() {
            let whole = Recording::read(&self.recording()).whole();
            let recording = fs::OpenOptions::new().write(true).open(self.recording());
            recording.unwrap().set_len(whole).unwrap();
        }
        let mut command = self.plain("disk");
        command
            .env("LD_PRELOAD", self.library)
            .env("HOOKWHEEL_SHIM_ROOT", self.disk())
            .env("HOOKWHEEL_SHIM_LOG", self.recording())
            .env("HOOKWHEEL_SHIM_CLOCK", self.site.path("clock"));
        if let Some(fail) = fail {
            command.env("HOOKWHEEL_SHIM_FAIL", fail);
        }
        command
    }

    /// `hookwheel serve` without the library, on the data in `directory` of the site.
    pub fn plain(&self, directory: &str) -> Command {
        let mut command = hookwheel();
        command
            .args(["serve", "--config"])
            .arg(self.config(directory));
        command
    }

    pub fn start(&self) -> Daemon {
        Daemon::spawn(self.command(None))
    }
}

/// What an operation did, to which paths below the root.
#[derive(Clone, Debug)]
pub enum Did {
    Start,
    Create(String),
    Mkdir(String),
    Write(String, u64, Range<usize>),
    Truncate(String, u64),
    Sync(String),
    Rename(String, String),
    Unlink(String),
    Rmdir(String),
    FailedSync(String),
    Fault(String),
}

/// An operation, and where its record ends in the recording.
#[derive(Clone, Debug)]
pub struct Op {
    pub end: u64,
    pub did: Did,
}

/// A recording, read.
pub struct Recording {
    pub bytes: Vec<u8>,
    pub ops: Vec<Op>,
}

const HEAD: usize = 32;

impl Recording {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let (mut ops, mut at) = (Vec::new(), 0);
        while let Some(head) = bytes.get(at..at + HEAD) {
            let number = |from: usize| {
                usize::try_from(u32::from_be_bytes(head[from..from + 4].try_into().unwrap()))
                    .unwrap()
            };
            let wide = |from: usize| u64::from_be_bytes(head[from..from + 8].try_into().unwrap());
            let (path, other) = (number(4), number(8));
            let (offset, length) = (wide(16), usize::try_from(wide(24)).unwrap());
            let data = at + HEAD + path + other;
            // A kill may have cut the last record short: then its effect was not seen by anybody either.
            let Some(names) = bytes
                .get(at + HEAD..data)
                .filter(|_| data + length <= bytes.len())
            else {
                break;
            };
            let name =
                |from: usize, to: usize| String::from_utf8(names[from..to].to_vec()).unwrap();
            let first = name(0, path);
            let did = match number(0) {
                1 => Did::Start,
                2 => Did::Create(first),
                3 => Did::Mkdir(first),
                4 => Did::Write(first, offset, data..data + length),
                5 => Did::Truncate(first, offset),
                6 => Did::Sync(first),
                7 => Did::Rename(first, name(path, path + other)),
                8 => Did::Unlink(first),
                9 => Did::Rmdir(first),
                10 => Did::FailedSync(first),
                11 => Did::Fault(first),
                other => panic!("an operation {other} in the recording"),
            };
            at = data + length;
            ops.push(Op {
                end: at as u64,
                did,
            });
        }
        Self { bytes, ops }
    }

    /// Its length without a torn record at its end.
    fn whole(&self) -> u64 {
        self.ops.last().map_or(0, |op| op.end)
    }

    /// How many operations change something, and how many syncs there are: what may be made to fail.
    pub fn counts(&self) -> (u64, u64) {
        let syncs = self.count(|did| matches!(did, Did::Sync(_) | Did::FailedSync(_)));
        let none = self.count(|did| matches!(did, Did::Start | Did::Fault(_)));
        (self.ops.len() as u64 - syncs - none, syncs)
    }

    pub fn count(&self, which: impl Fn(&Did) -> bool) -> u64 {
        self.ops.iter().filter(|op| which(&op.did)).count() as u64
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_tore_of_the_recording_hides_nothing_of_the_next_process() {
    let Some(rig) = Rig::new("a torn recording", "") else {
        return;
    };
    rig.start().kill();
    let before = Recording::read(&rig.recording());
    let file = fs::OpenOptions::new().write(true).open(rig.recording());
    // The first bytes of a record, as a kill may leave them.
    file.unwrap()
        .write_all_at(&[0, 0, 0, 4, 0], before.whole())
        .unwrap();
    assert!(rig.start().terminate().success());
    let after = Recording::read(&rig.recording());
    assert_eq!(after.count(|did| matches!(did, Did::Start)), 2);
    assert!(after.ops.len() > before.ops.len() + 1);
    assert_eq!(after.whole(), after.bytes.len() as u64);
}
