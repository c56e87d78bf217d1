//! Damage to a data directory that is held as bytes: what disks, file systems and people do to files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// A data directory: each file by its path in it.
pub(super) type Image = BTreeMap<String, Vec<u8>>;

/// A small generator, so that a round can be made again from its seed (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least one.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(super) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// What was done to one file.
#[derive(Clone)]
pub(super) struct Hit {
    pub(super) file: String,
    pub(super) what: String,
    /// The bytes that are not what they were; those of a file that is gone are all of it.
    pub(super) bytes: Range<usize>,
}

impl std::fmt::Debug for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

/// Reads a directory and all below it.
pub(super) fn read(directory: &Path) -> Image {
    let (mut image, mut waiting) = (Image::new(), vec![directory.to_owned()]);
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap();
                image.insert(name.to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    image
}

pub(super) fn write(image: &Image, directory: &Path) {
    for (name, bytes) in image {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Damages one file of the image.
pub(super) fn ruin(image: &mut Image, dice: &mut Dice) -> Hit {
    let kinds: [fn(&str) -> bool; 4] = [
        |name| name.ends_with(".log"),
        |name| name.ends_with(".idx"),
        |name| name.starts_with("registry/"),
        |_| true,
    ];
    let kind = kinds[[0, 0, 0, 1, 2, 2, 2, 3][dice.below(8)]];
    let names: Vec<String> = image.keys().filter(|name| kind(name)).cloned().collect();
    let Some(name) = (!names.is_empty()).then(|| dice.one_of(&names).clone()) else {
        return Hit {
            file: String::new(),
            what: "nothing".to_owned(),
            bytes: 0..0,
        };
    };
    let (what, bytes) = match dice.below(10) {
        0 => delete(image, &name),
        1 => take_over(image, &name, dice),
        _ => change(image.get_mut(&name).unwrap(), dice),
    };
    Hit {
        file: name,
        what,
        bytes,
    }
}

fn delete(image: &mut Image, name: &str) -> (String, Range<usize>) {
    let length = image.remove(name).unwrap().len();
    ("deleted".to_owned(), 0..length.max(1))
}

/// A file of the same kind stands where this one stood, or this one stands under another name too.
fn take_over(image: &mut Image, name: &str, dice: &mut Dice) -> (String, Range<usize>) {
    let extension = name.rsplit('.').next().unwrap().to_owned();
    let others: Vec<String> = image.keys().cloned().collect();
    let others: Vec<String> = others
        .into_iter()
        .filter(|other| other != name && other.ends_with(&extension))
        .collect();
    if !others.is_empty() && dice.below(2) == 0 {
        let other = dice.one_of(&others).clone();
        let (length, bytes) = (image[name].len(), image[&other].clone());
        let longer = length.max(bytes.len());
        image.insert(name.to_owned(), bytes);
        return (format!("replaced by {other}"), 0..longer);
    }
    let copy = match name.strip_suffix(".log") {
        Some(_) => format!("journal/{:010}.log", 90 + dice.below(9)),
        None => format!("{name}.copy"),
    };
    image.insert(copy.clone(), image[name].clone());
    (format!("copied to {copy}"), 0..0)
}

fn change(bytes: &mut Vec<u8>, dice: &mut Dice) -> (String, Range<usize>) {
    let length = bytes.len();
    if length == 0 || dice.below(8) == 0 {
        let more = 1 + dice.below(3_000);
        bytes.extend((0..more).map(|_| u8::try_from(dice.next() & 0xff).unwrap()));
        return (
            format!("{more} bytes of garbage at the end"),
            length..length,
        );
    }
    let at = dice.below(length);
    match dice.below(8) {
        0 => {
            bytes.truncate(at);
            (format!("cut at {at} of {length}"), at..length)
        }
        1 | 2 => {
            let (from, to) = (at / 512 * 512, (at / 512 * 512 + 512).min(length));
            let zero = dice.below(2) == 0;
            for byte in &mut bytes[from..to] {
                *byte = if zero {
                    0
                } else {
                    u8::try_from(dice.next() & 0xff).unwrap()
                };
            }
            let how = if zero { "zeros" } else { "garbage" };
            (format!("a sector of {how} at {from}"), from..to)
        }
        3 => {
            // At the very end, where damage looks like a group that was being written.
            let at = length - 1 - dice.below(length.min(40));
            bytes[at] ^= 1 << dice.below(8);
            (
                format!("a bit at {at}, near the end of {length}"),
                at..at + 1,
            )
        }
        _ => {
            bytes[at] ^= 1 << dice.below(8);
            (format!("a bit at {at} of {length}"), at..at + 1)
        }
    }
}
