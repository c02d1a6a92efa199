//! Unit files as the real systemd 252 sees them: `unit-show` against recorded outputs of `systemctl show`.
//!
//! The set in the repository always runs: `golden/tree` is a root tree, `golden/show` what the real one printed of
//! its units (`ci/golden-units` records it). Where CORTEN_UNIT_CORPUS names a folder with `corpus` (a root tree for
//! each Debian package), `corpus-coreos` (bare files) and `golden` (outputs), that is compared too.

mod golden {
    pub mod compare;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use golden::compare::Golden;
use init::dbus::property::text;
use init::unit_show::Tree;
use unit::UnitName;

/// A unit's properties as text, a line for each value.
type Shown = BTreeMap<String, Vec<String>>;

fn shown(tree: &mut Tree, name: &str) -> Shown {
    let name = UnitName::parse(name).expect("the name of a recorded unit");
    let told = tree.properties(&name).0.into_iter();
    told.map(|(name, value)| (name.to_owned(), text::lines(name, &value)))
        .map(|(name, lines)| (name, lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>()))
        .filter(|(_, lines)| !lines.is_empty())
        .collect()
}

fn recorded(folder: &Path) -> Vec<(String, Shown)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("the recorded outputs") {
        let path = entry.expect("an entry").path();
        let file = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let Some(name) = file.strip_suffix(".show") else { continue };
        let mut shown = Shown::new();
        for line in fs::read_to_string(&path).expect("a recorded output").lines() {
            let (name, value) = line.split_once('=').expect("an assignment");
            shown.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        all.push((name.strip_prefix("coreos-").unwrap_or(name).to_owned(), shown));
    }
    all.sort();
    all
}

/// Lays one tree over another.
fn lay_over(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of the corpus") {
        let (source, target) =
            entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        if source.is_symlink() {
            let _ = symlink(fs::read_link(&source).expect("a link"), &target);
        } else if source.is_dir() {
            lay_over(&source, &target);
        } else {
            fs::copy(&source, &target).expect("a copy");
        }
    }
}

/// Compares all, and tells how many units and properties were alike.
fn all_alike(root: &Path, recorded: Vec<(String, Shown)>, complete: bool) -> (usize, usize) {
    // everything at once, to know who names whom
    let mut whole = Tree::open(root);
    let mut names: BTreeSet<String> = recorded.iter().map(|(name, _)| name.clone()).collect();
    names.extend(whole.names().iter().map(ToString::to_string));
    for name in &names {
        whole.load(&UnitName::parse(name).expect("the name of a unit"));
    }
    names.retain(|name| shown(&mut whole, name).contains_key("FragmentPath"));
    let golden = Golden::new(recorded, names, complete);
    let (mut units, mut compared) = (0, 0);
    let mut differences = Vec::new();
    for (name, theirs) in &golden.units {
        // what a package's own scripts and generators made is not in a corpus of its files
        if !complete && !golden.files.contains(name) {
            continue;
        }
        // the real one was asked for one unit after the other, too
        let ours = shown(&mut Tree::open(root), name);
        let whole = shown(&mut whole, name);
        units += 1;
        compared += golden.compare(name, theirs, &ours, &whole, &mut differences);
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    (units, compared)
}

/// The links that packages' scripts make when they are installed, which a corpus of their files lacks: aliases, and what
/// targets want. They are what the real one says of them.
fn lay_links(recorded: &[(String, Shown)], folder: &Path) {
    let words = |shown: &Shown, name: &str| -> Vec<String> {
        let lines = shown.get(name).into_iter().flatten();
        lines
            .flat_map(|line| line.split(' '))
            .map(|word| word.trim_matches('"').replace("\\\\", "\\"))
            .collect()
    };
    for (name, shown) in recorded {
        for alias in
            words(shown, "Names").iter().filter(|alias| *alias != name && !folder.join(alias).exists())
        {
            let own = shown.get("Id").is_some_and(|id| id == std::slice::from_ref(name));
            _ = own.then(|| symlink(name, folder.join(alias)));
        }
        if !name.ends_with(".target") {
            continue;
        }
        let text = text_of(&folder.join(name));
        for wanted in words(shown, "Wants").iter().filter(|wanted| !text.contains(wanted.as_str())) {
            let wants = folder.join(format!("{name}.wants"));
            fs::create_dir_all(&wants).expect("a folder");
            let _ = symlink(format!("../{wanted}"), wants.join(wanted));
        }
    }
}

fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

#[test]
fn units_of_our_own_show_what_systemd_shows() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (units, properties) = all_alike(&here.join("tree"), recorded(&here.join("show")), true);
    assert!(units >= 20 && properties >= 4000, "only {properties} properties of {units} units were compared");
}

#[test]
fn the_shared_corpus_shows_what_systemd_shows() {
    let Some(corpus) = std::env::var_os("CORTEN_UNIT_CORPUS").map(PathBuf::from) else {
        eprintln!("CORTEN_UNIT_CORPUS is not set: only the repository's own units were compared");
        return;
    };
    let root = tempfile::tempdir().expect("a folder");
    // as the machine was on which it was recorded
    fs::create_dir_all(root.path().join("usr/lib")).expect("a folder");
    fs::create_dir_all(root.path().join("etc")).expect("a folder");
    symlink("usr/lib", root.path().join("lib")).expect("a link");
    fs::write(root.path().join("etc/hostname"), "vm\n").expect("a name");
    fs::write(root.path().join("etc/machine-id"), "4091b11e8d3044b4ab206f2239d5162b\n")
        .expect("an identifier");
    for package in fs::read_dir(corpus.join("corpus")).expect("the corpus") {
        lay_over(&package.expect("a package").path(), root.path());
    }
    let runtime = root.path().join("run/systemd/system");
    fs::create_dir_all(&runtime).expect("a folder");
    for file in fs::read_dir(corpus.join("corpus-coreos")).expect("the corpus").flatten() {
        let name = format!("zz-{}", file.file_name().to_string_lossy());
        fs::copy(file.path(), runtime.join(name)).expect("a copy");
    }
    let recorded = recorded(&corpus.join("golden"));
    lay_links(&recorded, &root.path().join("usr/lib/systemd/system"));
    let (units, properties) = all_alike(root.path(), recorded, false);
    assert!(
        units >= 100 && properties >= 20_000,
        "only {properties} properties of {units} units were compared"
    );
    eprintln!("{properties} properties of {units} units are alike");
}
