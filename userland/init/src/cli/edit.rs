//! `edit`: a drop-in, or the whole file with `--full`, in the operator's editor; then the files are read again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::properties::Properties;
use super::{Outcome, Session, Trouble, system};

/// The editors that are tried, in this order, when no variable names one.
const EDITORS: [&str; 4] = ["editor", "nano", "vim", "vi"];

pub(super) fn edit(session: &mut Session<'_>, units: &[String]) -> Outcome {
    let root = if session.options.runtime { "/run/systemd/system" } else { "/etc/systemd/system" };
    let mut edited = false;
    for name in session.expand(units)? {
        let properties = Properties::of_unit(&mut session.client, &name)?;
        let fragment = properties.text("FragmentPath").to_owned();
        if fragment.is_empty() && session.options.force == 0 {
            session.complain(&format!(
                "No files found for {name}.\nRun 'systemctl edit --force --full {name}' to create a new unit."
            ));
            return Ok(1);
        }
        let (path, before) = if session.options.full {
            (Path::new(root).join(&name), fs::read_to_string(&fragment).unwrap_or_default())
        } else {
            let path = Path::new(root).join(format!("{name}.d")).join(&session.options.drop_in);
            let text = fs::read_to_string(&path).unwrap_or_default();
            (path, text)
        };
        edited |= one(session, &name, &path, &before)?;
    }
    if edited { system::daemon_reload(session, &[]) } else { Ok(0) }
}

/// Edits a copy, and puts it in place when it is not empty.
fn one(session: &mut Session<'_>, unit: &str, path: &Path, before: &str) -> Result<bool, Trouble> {
    let Some(editor) = editor() else {
        session.complain("Cannot edit: no editor is there. Set $SYSTEMD_EDITOR, $EDITOR or $VISUAL.");
        return Ok(false);
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let copy: PathBuf = folder.join(format!(".#{}", path.file_name().unwrap_or_default().to_string_lossy()));
    fs::write(&copy, before)?;
    let words: Vec<&str> = editor.split_whitespace().collect();
    let Some((program, arguments)) = words.split_first() else { return Ok(false) };
    let ended = Command::new(program).args(arguments).arg(&copy).status();
    let text = fs::read_to_string(&copy).unwrap_or_default();
    let well = ended.is_ok_and(|status| status.success());
    if !well || text.trim().is_empty() {
        fs::remove_file(&copy)?;
        session.complain(&format!("Editing \"{unit}\" canceled: temporary file is empty."));
        return Ok(false);
    }
    fs::rename(&copy, path)?;
    Ok(true)
}

fn editor() -> Option<String> {
    let named = ["SYSTEMD_EDITOR", "EDITOR", "VISUAL"].into_iter().find_map(|name| std::env::var(name).ok());
    let there = |name: &&str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).exists()))
    };
    named
        .filter(|name| !name.trim().is_empty())
        .or_else(|| EDITORS.iter().find(|name| there(name)).map(|name| (*name).to_owned()))
}
