//! Folders of configuration files: `/etc/X.d` over `/run/X.d` over `/usr/local/lib/X.d` over `/usr/lib/X.d`.
//!
//! A file hides one of the same name in a later folder, and an empty one or a link to /dev/null hides it for good. All
//! files are read in the order of their names, wherever they are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The folders, the first wins.
const FOLDERS: [&str; 4] = ["etc", "run", "usr/local/lib", "usr/lib"];
/// The longest file that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// A line that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its file.
    pub file: PathBuf,
    /// From 1.
    pub number: usize,
    /// Without the white space around it.
    pub text: String,
}

impl Line {
    /// Tells what is wrong with it.
    pub fn complain(&self, why: impl std::fmt::Display) {
        eprintln!("{}:{}: {why}", self.file.display(), self.number);
    }
}

/// The files of `kind` (`tmpfiles.d`) below a root. With `named`, only those: paths, names of files in the folders, or
/// `-`; with `replaced` too, all files with `named` in the place of that path.
///
/// # Errors
/// A file that was named is not there.
pub fn files(
    root: &Path,
    kind: &str,
    named: &[PathBuf],
    replaced: Option<&Path>,
) -> Result<Vec<PathBuf>, String> {
    if let Some(replaced) = replaced {
        let name = replaced.file_name().ok_or("--replace= takes the path of a file")?.to_owned();
        let mut all = in_folders(root, kind);
        let stands_in = |path: &PathBuf| path.strip_prefix(root).ok().map(|path| Path::new("/").join(path));
        // A file that has more say than the replaced one keeps it.
        let stronger = all.get(&name).and_then(stands_in).is_some_and(|path| rank(&path) < rank(replaced));
        if stronger {
            return Ok(all.into_values().collect());
        }
        all.remove(&name);
        let mut files: Vec<(OsString, PathBuf)> = all.into_iter().collect();
        files.extend(named.iter().map(|path| (name.clone(), path.clone())));
        files.sort_by(|one, other| one.0.cmp(&other.0));
        return Ok(files.into_iter().map(|(_, path)| path).collect());
    }
    if named.is_empty() {
        return Ok(in_folders(root, kind).into_values().collect());
    }
    named.iter().map(|path| find(root, kind, path)).collect()
}

fn rank(path: &Path) -> usize {
    FOLDERS.iter().position(|folder| path.starts_with(Path::new("/").join(folder))).unwrap_or(FOLDERS.len())
}

fn in_folders(root: &Path, kind: &str) -> BTreeMap<OsString, PathBuf> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(root.join(folder).join(kind)).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "conf") {
                files.entry(entry.file_name()).or_insert(path);
            }
        }
    }
    files.retain(|_, path| fs::read_link(path).map_or(true, |target| target != Path::new("/dev/null")));
    files
}

fn find(root: &Path, kind: &str, path: &Path) -> Result<PathBuf, String> {
    if path == Path::new("-") || path.is_absolute() || path.components().count() > 1 {
        return Ok(path.to_owned());
    }
    let mut places = FOLDERS.iter().map(|folder| root.join(folder).join(kind).join(path));
    places.find(|place| place.exists()).ok_or_else(|| format!("{}: no such file in {kind}", path.display()))
}

/// The lines of a file, without empty ones and comments (`#`, `;`). `-` is standard input.
///
/// # Errors
/// It cannot be read.
pub fn lines(file: &Path) -> io::Result<Vec<Line>> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().take(LONGEST).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(file)?.take(LONGEST).read_to_end(&mut bytes)?;
    }
    Ok(lines_of(file, &String::from_utf8_lossy(&bytes)))
}

/// The lines of a text.
#[must_use]
pub fn lines_of(file: &Path, text: &str) -> Vec<Line> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let telling = numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']));
    telling.map(|(number, text)| Line { file: file.to_owned(), number, text: text.to_owned() }).collect()
}

/// Lines that the manager hands over as a credential (`tmpfiles.extra`).
#[must_use]
pub fn credential_lines(name: &str) -> Vec<Line> {
    let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Vec::new() };
    lines(&Path::new(&folder).join(name)).unwrap_or_default()
}

/// Prints files as they are, each under its name (`--cat-config`).
pub fn print(files: &[PathBuf]) {
    for (index, file) in files.iter().enumerate() {
        let text = fs::read(file).unwrap_or_default();
        let space = if index > 0 { "\n" } else { "" };
        print!("{space}# {}\n{}", file.display(), String::from_utf8_lossy(&text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_folder_hides_a_later_one() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("etc/x.d/b.conf", "etc"),
            ("run/x.d/a.conf", "run"),
            ("usr/lib/x.d/b.conf", "lib"),
            ("usr/lib/x.d/c.conf", "lib"),
            ("usr/lib/x.d/d.txt", "no"),
        ] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), text).unwrap();
        }
        std::os::unix::fs::symlink("/dev/null", root.path().join("etc/x.d/c.conf")).unwrap();
        let names = |files: Vec<PathBuf>| -> Vec<String> {
            let name = |path: &PathBuf| path.strip_prefix(root.path()).unwrap_or(path).display().to_string();
            files.iter().map(name).collect()
        };
        assert_eq!(
            names(files(root.path(), "x.d", &[], None).unwrap()),
            ["run/x.d/a.conf", "etc/x.d/b.conf"]
        );
        let one = files(root.path(), "x.d", &["b.conf".into()], None).unwrap();
        assert_eq!(names(one), ["etc/x.d/b.conf"]);
        assert!(files(root.path(), "x.d", &["none.conf".into()], None).is_err());
        let replaced =
            files(root.path(), "x.d", &["new".into()], Some(Path::new("/usr/lib/x.d/aa.conf"))).unwrap();
        assert_eq!(names(replaced), ["run/x.d/a.conf", "new", "etc/x.d/b.conf"]);
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        let lines = lines_of(Path::new("f"), "# c\n\n  a b \n;c\nx");
        let found: Vec<(usize, &str)> = lines.iter().map(|line| (line.number, line.text.as_str())).collect();
        assert_eq!(found, [(3, "a b"), (5, "x")]);
    }
}
