//! A disk as a recording leaves it, and what may be left of it when the power goes.
//!
//! What POSIX promises and no more: a file's content and size are durable up to its last sync; a name is durable
//! once the directory that holds it was synced after it came. Of the rest any part may be there: writes one by one,
//! torn at sectors, in any order, the size before or after its data, names that came or went before others.
//! A rename is one step. What is reached only by a name that is lost is lost with it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use super::{Did, Recording};
use crate::dice::Dice;

/// Which syncs the disk honours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Honours {
    pub files: bool,
    pub directories: bool,
}

pub const ALL: Honours = Honours {
    files: true,
    directories: true,
};

#[derive(Clone)]
enum Change {
    Write(u64, Range<usize>),
    Resize(u64),
}

#[derive(Clone)]
enum Naming {
    Put(String, usize),
    Move(String, String, usize),
    Drop(String),
}

#[derive(Clone)]
enum Node {
    File {
        durable: Vec<u8>,
        unsynced: Vec<Change>,
    },
    Directory {
        live: BTreeMap<String, usize>,
        durable: BTreeMap<String, usize>,
        unsynced: Vec<Naming>,
    },
}

/// The disk.
#[derive(Clone)]
pub struct Disk {
    nodes: Vec<Node>,
    honours: Honours,
}

const ROOT: usize = 0;

const fn directory() -> Node {
    Node::Directory {
        live: BTreeMap::new(),
        durable: BTreeMap::new(),
        unsynced: Vec::new(),
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Disk {
    /// A disk that holds durably what lies in `from`.
    pub fn holding(from: &Path, honours: Honours) -> Self {
        let mut disk = Self {
            nodes: vec![directory()],
            honours,
        };
        disk.take_in(from, ROOT);
        disk
    }

    fn take_in(&mut self, from: &Path, into: usize) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let number = self.nodes.len();
            let is_directory = entry.path().is_dir();
            self.nodes.push(if is_directory {
                directory()
            } else {
                Node::File {
                    durable: fs::read(entry.path()).unwrap(),
                    unsynced: Vec::new(),
                }
            });
            let name = entry.file_name().into_string().unwrap();
            if let Node::Directory { live, durable, .. } = &mut self.nodes[into] {
                live.insert(name.clone(), number);
                durable.insert(name, number);
            }
            if is_directory {
                self.take_in(&entry.path(), number);
            }
        }
    }

    fn find(&self, path: &str) -> usize {
        path.split('/')
            .filter(|name| !name.is_empty())
            .fold(ROOT, |at, name| match &self.nodes[at] {
                Node::Directory { live, .. } => *live
                    .get(name)
                    .unwrap_or_else(|| panic!("{path} is used and was never made")),
                Node::File { .. } => panic!("{path} leads through a file"),
            })
    }

    fn name(&mut self, directory: &str, naming: Naming) {
        let at = self.find(directory);
        if let Node::Directory { live, unsynced, .. } = &mut self.nodes[at] {
            apply_name(live, &naming);
            unsynced.push(naming);
        }
    }

    fn change(&mut self, path: &str, change: Change) {
        let at = self.find(path);
        let Node::File { unsynced, .. } = &mut self.nodes[at] else {
            panic!("{path} is written and is a directory");
        };
        unsynced.push(change);
    }

    fn sync(&mut self, path: &str, recording: &Recording) {
        let at = self.find(path);
        match &mut self.nodes[at] {
            Node::File { durable, unsynced } if self.honours.files => {
                for change in unsynced.drain(..) {
                    apply(durable, &change, recording);
                }
            }
            Node::Directory {
                durable, unsynced, ..
            } if self.honours.directories => {
                for naming in unsynced.drain(..) {
                    apply_name(durable, &naming);
                }
            }
            _ => {}
        }
    }

    /// Does what an operation did.
    pub fn play(&mut self, did: &Did, recording: &Recording) {
        match did {
            Did::Start | Did::Fault(_) => {}
            Did::Create(path) | Did::Mkdir(path) => {
                self.nodes.push(match did {
                    Did::Mkdir(_) => directory(),
                    _ => Node::File {
                        durable: Vec::new(),
                        unsynced: Vec::new(),
                    },
                });
                let (parent, name) = split(path);
                self.name(parent, Naming::Put(name.to_owned(), self.nodes.len() - 1));
            }
            Did::Write(path, offset, bytes) => {
                self.change(path, Change::Write(*offset, bytes.clone()));
            }
            Did::Truncate(path, length) => self.change(path, Change::Resize(*length)),
            Did::Sync(path) => self.sync(path, recording),
            Did::Rename(from, to) => {
                let (node, (parent, old), (other, new)) = (self.find(from), split(from), split(to));
                assert_eq!(parent, other, "a rename from one directory to another");
                self.name(parent, Naming::Move(old.to_owned(), new.to_owned(), node));
            }
            Did::Unlink(path) | Did::Rmdir(path) => {
                let (parent, name) = split(path);
                self.name(parent, Naming::Drop(name.to_owned()));
            }
            // The pages are taken for clean, and what was in them may never reach the disk.
            Did::FailedSync(path) => {
                let at = self.find(path);
                match &mut self.nodes[at] {
                    Node::File { unsynced, .. } => unsynced.clear(),
                    Node::Directory { unsynced, .. } => unsynced.clear(),
                }
            }
        }
    }

    /// Writes what running programs see.
    pub fn write_live(&self, to: &Path, recording: &Recording) {
        self.write(ROOT, to, &mut |node, _| match node {
            Node::File { durable, unsynced } => {
                let mut content = durable.clone();
                for change in unsynced {
                    apply(&mut content, change, recording);
                }
                Left::File(content)
            }
            Node::Directory { live, .. } => Left::Directory(live.clone()),
        });
    }

    /// Writes what a power loss may leave.
    pub fn write_cut(&self, to: &Path, recording: &Recording, dice: &mut Dice) {
        self.write(ROOT, to, &mut |node, _| match node {
            Node::File { durable, unsynced } => {
                Left::File(torn(durable, unsynced, recording, dice, self.honours.files))
            }
            Node::Directory {
                durable, unsynced, ..
            } => Left::Directory(names_left(durable, unsynced, dice)),
        });
    }

    fn write(&self, at: usize, to: &Path, left: &mut impl FnMut(&Node, usize) -> Left) {
        match left(&self.nodes[at], at) {
            Left::File(content) => fs::write(to, content).unwrap(),
            Left::Directory(names) => {
                fs::create_dir_all(to).unwrap();
                for (name, node) in names {
                    self.write(node, &to.join(name), left);
                }
            }
        }
    }
}

enum Left {
    File(Vec<u8>),
    Directory(BTreeMap<String, usize>),
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn apply(content: &mut Vec<u8>, change: &Change, recording: &Recording) {
    match change {
        Change::Write(offset, bytes) => {
            put(content, size(*offset), &recording.bytes[bytes.clone()])
        }
        Change::Resize(length) => content.resize(size(*length), 0),
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

fn apply_name(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    match naming {
        Naming::Put(name, node) => drop(names.insert(name.clone(), *node)),
        Naming::Move(old, new, node) => {
            names.remove(old);
            names.insert(new.clone(), *node);
        }
        Naming::Drop(name) => drop(names.remove(name)),
    }
}

/// Nothing that is not synced, all of it, the first part, or any part, with torn writes.
fn torn(
    durable: &[u8],
    unsynced: &[Change],
    recording: &Recording,
    dice: &mut Dice,
    honest: bool,
) -> Vec<u8> {
    let mut content = durable.to_vec();
    let kept = match dice.below(5) {
        0 => 0,
        // Not so on a disk that honours no syncs: there everything is unsynced, and such luck shows nothing.
        1 if honest => unsynced.len(),
        2 => size(dice.below(unsynced.len() as u64 + 1)),
        _ => {
            scatter(&mut content, unsynced, recording, dice);
            return content;
        }
    };
    for change in &unsynced[..kept] {
        apply(&mut content, change, recording);
    }
    content
}

/// Any sectors of any writes; where a write is missing there are zeros, or what the disk held before.
fn scatter(content: &mut Vec<u8>, unsynced: &[Change], recording: &Recording, dice: &mut Dice) {
    let sector: usize = dice.one_of(&[512, 4096]);
    let (before, mut live) = (content.len(), content.len());
    let stale = dice.below(4) == 0;
    for change in unsynced {
        match change {
            Change::Resize(length) => {
                live = size(*length);
                if dice.coin() {
                    content.resize(live, 0);
                }
            }
            Change::Write(offset, bytes) => {
                let (mut at, mut rest) = (size(*offset), &recording.bytes[bytes.clone()]);
                live = live.max(at + rest.len());
                while !rest.is_empty() {
                    let (piece, more) = rest.split_at(rest.len().min(sector - at % sector));
                    if dice.coin() {
                        put(content, at, piece);
                    } else if stale && at >= content.len() {
                        let old: Vec<u8> = piece.iter().map(|byte| byte ^ 0x5a).collect();
                        put(content, at, &old);
                    }
                    at += piece.len();
                    rest = more;
                }
            }
        }
    }
    // The size is synced or not by itself.
    match dice.below(3) {
        0 => content.resize(live, 0),
        1 if content.len() > before => {
            let length = before + size(dice.below((content.len() - before) as u64 + 1));
            content.truncate(length);
        }
        _ => {}
    }
}

/// As a journal of metadata would have it, the first of them; or any of them.
fn names_left(
    durable: &BTreeMap<String, usize>,
    unsynced: &[Naming],
    dice: &mut Dice,
) -> BTreeMap<String, usize> {
    let mut names = durable.clone();
    let first = size(dice.below(unsynced.len() as u64 + 1));
    let in_order = dice.coin();
    for (number, naming) in unsynced.iter().enumerate() {
        let there = if in_order {
            number < first
        } else {
            dice.coin()
        };
        if there {
            apply_name(&mut names, naming);
        }
    }
    names
}
