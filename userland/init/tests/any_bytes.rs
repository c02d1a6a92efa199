//! Unit files of any bytes: nothing that is in one makes the loader, or what tells of it, panic, hang or grow.
//!
//! The bytes are the repository's own unit files, cut, spliced, repeated and overwritten at random, and loaded as each
//! type of unit. A failure names its seed; `UNIT_FUZZ=SEED` plays that one again, `UNIT_FUZZ_ROUNDS` sets how many.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use init::dbus::facts;
use init::dbus::property::{self, text};
use unit::{Catalog, Engine, Event, Host, Nowhere, Sources, Text, UnitFileState, UnitName, UnitType, World};

const ROUNDS: u64 = 3000;
/// Bytes that mean something to some parser, or that no text has.
const ODD: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\xc3\x28",
    b"\xef\xbb\xbf",
    b"%",
    b"%%",
    b"%i",
    b"\\",
    b"\\x",
    b"\\\n",
    b"\"",
    b"'",
    b"[",
    b"]",
    b"=",
    b"\n",
    b"\r",
    b";",
    b"#",
    b"-",
    b"@",
    b"~",
    b"99999999999999999999",
    b"-1",
    b"infinity",
    b"1e9",
    b"0x",
    b"..",
    b"/",
    b"//",
    b"$",
    b"${",
    b":",
    b"|!",
    b"%f",
    b"\xe2\x80\xa8",
    b"18446744073709551615",
    b"100%",
    b"*",
];

/// xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % most.max(1)
    }
}

/// One file, by whatever name it is asked for; the first name gets a drop-in, too.
struct Files {
    file: Vec<u8>,
    drop_in: Vec<u8>,
    left: RefCell<usize>,
}

impl Catalog for Files {
    fn find(&self, _: &UnitName) -> Result<Sources, String> {
        let mut left = self.left.borrow_mut();
        if *left == 0 {
            return Ok(Sources::default());
        }
        *left -= 1;
        let text =
            |bytes: &[u8]| Text { path: "/x".into(), text: String::from_utf8_lossy(bytes).into_owned() };
        Ok(Sources {
            fragment: Some(text(&self.file)),
            drop_ins: vec![text(&self.drop_in)],
            ..Sources::default()
        })
    }

    fn list(&self) -> Vec<(UnitName, UnitFileState)> {
        Vec::new()
    }
}

/// Tells the seed when the test does not come to its end.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("UNIT_FUZZ={}", self.0);
        }
    }
}

fn bytes(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..random.below(12) {
        let (at, other) = (random.below(bytes.len()), random.below(bytes.len()));
        let (from, to) = (at.min(other), at.max(other));
        match random.below(6) {
            0 => drop(bytes.drain(from..to)),
            1 => drop(bytes.splice(at..at, ODD[random.below(ODD.len())].iter().copied())),
            2 => {
                let piece = bytes.get(from..to).unwrap_or_default().repeat(1 + random.below(3));
                drop(bytes.splice(at..at, piece));
            }
            3 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(random.below(256)).unwrap_or(0);
                }
            }
            4 => {
                let piece = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
                let start = random.below(piece.len());
                drop(bytes.splice(at..at, piece.into_iter().skip(start).take(80)));
            }
            _ => bytes.extend((0..random.below(40)).map(|_| u8::try_from(random.below(256)).unwrap_or(0))),
        }
        bytes.truncate(1 << 16);
    }
    bytes
}

fn seeds(folder: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            seeds(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push(bytes);
        }
    }
}

/// The line without which no unit of a kind is usable, where there is one.
fn what_it_cannot_do_without(kind: UnitType) -> &'static str {
    match kind {
        UnitType::Service => "\n[Service]\nExecStart=/bin/x\n",
        UnitType::Socket => "\n[Socket]\nListenStream=/x\n",
        UnitType::Timer => "\n[Timer]\nOnBootSec=1\n",
        UnitType::Path => "\n[Path]\nPathExists=/x\n",
        UnitType::Mount => "\n[Mount]\nWhat=/y\nWhere=/x\n",
        UnitType::Automount => "\n[Automount]\nWhere=/x\n",
        UnitType::Swap => "\n[Swap]\nWhat=/x\n",
        _ => "\n",
    }
}

#[test]
fn no_bytes_make_the_loader_panic() {
    let mut files = Vec::new();
    seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tree"), &mut files);
    files.sort();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let only: Option<u64> = number("UNIT_FUZZ");
    let first = only.unwrap_or(1);
    let rounds = only.map_or_else(|| number("UNIT_FUZZ_ROUNDS").unwrap_or(ROUNDS), |_| 1);
    let mut loaded = 0;
    for seed in first..first + rounds {
        let _seed = Seed(seed);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let kind = UnitType::ALL[random.below(UnitType::ALL.len())];
        let stem = ["x", "x@i", "a-b\\x2dc", "-", "x@\\xff"][random.below(5)];
        let Ok(name) = UnitName::parse(&format!("{stem}.{}", kind.as_str())) else { continue };
        let mut file = bytes(&files, &mut random);
        if random.below(4) != 0 {
            file.extend_from_slice(what_it_cannot_do_without(kind).as_bytes());
        }
        let catalog = Files { file, drop_in: bytes(&files, &mut random), left: RefCell::new(3) };
        let mut engine = Engine::new(Host::default());
        let world = World { now: 1, realtime: 1, catalog: &catalog, probe: &Nowhere };
        let _ = engine.handle(Event::Load { unit: name.clone() }, &world);
        let status = engine.status(&name).expect("a unit that was asked for is in memory");
        loaded += usize::from(status.load == unit::LoadState::Loaded);
        assert!(status.definition.warnings.len() <= 3000, "warnings are bounded");
        let told =
            property::tell(&[property::of_type(name.as_str()), property::UNIT], facts::of_unit(&status));
        for (name, value) in &told.0 {
            let _ = text::lines(name, value);
        }
    }
    assert!(only.is_some() || loaded > 500, "only {loaded} of {rounds} units were loaded: nothing was tried");
}
