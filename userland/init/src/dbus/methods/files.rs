//! Methods about unit files: list, state, enable, disable, mask and their kin.

use unit::UnitType;

use super::{Call, Method, Outcome, changes, reads, values};
use crate::dbus::glob;
use crate::dbus::world::{Failure, FileChanges, FileVerb};

/// Flags of the methods whose name ends in `WithFlags`.
const RUNTIME: u64 = 1;
const FORCE: u64 = 2;

pub(super) const MANAGER: &[Method] = &[
    reads("ListUnitFiles", "", "a(ss)", |call, _| list(call, &[], &[])),
    reads("ListUnitFilesByPatterns", "asas", "a(ss)", |call, _| {
        let (states, patterns): (Vec<String>, Vec<String>) = call.message.body()?;
        list(call, &states, &patterns)
    }),
    reads("GetUnitFileState", "s", "s", |call, _| {
        let name: String = call.message.body()?;
        let name = call.name(&name)?;
        let state = call.world.unit_file_state(name.as_str()).ok_or_else(|| {
            let text = format!("Unit file {name} does not exist.");
            Failure::new("org.freedesktop.DBus.Error.FileNotFound", text)
        })?;
        values(&state)
    }),
    reads("GetUnitFileLinks", "sb", "as", |call, _| {
        let (name, runtime): (String, bool) = call.message.body()?;
        let name = call.name(&name)?;
        values(&call.world.unit_file_links(name.as_str(), runtime)?)
    }),
    reads("GetDefaultTarget", "", "s", |call, _| {
        let missing =
            || Failure::new("org.freedesktop.DBus.Error.FileNotFound", "There is no default.target.");
        values(&call.world.default_target().ok_or_else(missing)?)
    }),
    changes("EnableUnitFiles", "asbb", "ba(sss)", |call, _| switch(call, FileVerb::Enable)),
    changes("ReenableUnitFiles", "asbb", "ba(sss)", |call, _| switch(call, FileVerb::Reenable)),
    changes("PresetUnitFiles", "asbb", "ba(sss)", |call, _| switch(call, FileVerb::Preset)),
    changes("LinkUnitFiles", "asbb", "a(sss)", |call, _| {
        let (paths, runtime, force): (Vec<String>, bool, bool) = call.message.body()?;
        if let Some(relative) = paths.iter().find(|path| !path.starts_with('/')) {
            return Err(Failure::arguments(format!("{relative} is not an absolute path.")));
        }
        values(&change(call, FileVerb::Link, &paths, runtime, force)?.done)
    }),
    changes("PresetUnitFilesWithMode", "assbb", "ba(sss)", |call, _| {
        let (names, mode, runtime, force): (Vec<String>, String, bool, bool) = call.message.body()?;
        let changes = preset(call, &names, &mode, runtime, force)?;
        values(&(changes.carries_install_info, changes.done))
    }),
    changes("PresetAllUnitFiles", "sbb", "a(sss)", |call, _| {
        let (mode, runtime, force): (String, bool, bool) = call.message.body()?;
        let last = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let skipped =
            |state: &str| matches!(state, "alias" | "masked" | "masked-runtime" | "bad" | "transient");
        let files = call.world.unit_files().into_iter().filter(|(_, state)| !skipped(state));
        let names: Vec<String> = files.map(|(path, _)| last(&path)).collect();
        values(&preset(call, &names, &mode, runtime, force)?.done)
    }),
    changes("SetDefaultTarget", "sb", "a(sss)", |call, _| {
        let (name, force): (String, bool) = call.message.body()?;
        let name = call.name(&name)?;
        if name.unit_type() != UnitType::Target || name.as_str() == "default.target" {
            return Err(Failure::arguments(format!("{name} cannot be the default target.")));
        }
        values(&call.world.set_default_target(name.as_str(), force)?.done)
    }),
    changes("AddDependencyUnitFiles", "asssbb", "a(sss)", |call, _| {
        let (names, target, kind, runtime, _): (Vec<String>, String, String, bool, bool) =
            call.message.body()?;
        let target = call.name(&target)?;
        for name in &names {
            call.name(name)?;
        }
        let folder = match kind.as_str() {
            "Wants" => "wants",
            "Requires" => "requires",
            _ => return Err(Failure::arguments(format!("Invalid dependency type {kind}"))),
        };
        values(&call.world.add_dependency(&names, target.as_str(), folder, runtime)?.done)
    }),
    changes("EnableUnitFilesWithFlags", "ast", "ba(sss)", |call, _| {
        let (names, flags): (Vec<String>, u64) = call.message.body()?;
        let changes = change(call, FileVerb::Enable, &names, flags & RUNTIME != 0, flags & FORCE != 0)?;
        values(&(changes.carries_install_info, changes.done))
    }),
    changes("DisableUnitFilesWithFlagsAndInstallInfo", "ast", "ba(sss)", |call, _| {
        let (names, flags): (Vec<String>, u64) = call.message.body()?;
        let changes = change(call, FileVerb::Disable, &names, flags & RUNTIME != 0, false)?;
        values(&(changes.carries_install_info, changes.done))
    }),
    changes("DisableUnitFilesWithFlags", "ast", "a(sss)", |call, _| {
        let (names, flags): (Vec<String>, u64) = call.message.body()?;
        values(&change(call, FileVerb::Disable, &names, flags & RUNTIME != 0, false)?.done)
    }),
    changes("DisableUnitFiles", "asb", "a(sss)", |call, _| {
        let (names, runtime): (Vec<String>, bool) = call.message.body()?;
        values(&change(call, FileVerb::Disable, &names, runtime, false)?.done)
    }),
    changes("MaskUnitFiles", "asbb", "a(sss)", |call, _| {
        let (names, runtime, force): (Vec<String>, bool, bool) = call.message.body()?;
        values(&change(call, FileVerb::Mask, &names, runtime, force)?.done)
    }),
    changes("UnmaskUnitFiles", "asb", "a(sss)", |call, _| {
        let (names, runtime): (Vec<String>, bool) = call.message.body()?;
        values(&change(call, FileVerb::Unmask, &names, runtime, false)?.done)
    }),
    changes("RevertUnitFiles", "as", "a(sss)", |call, _| {
        let names: Vec<String> = call.message.body()?;
        values(&change(call, FileVerb::Revert, &names, false, false)?.done)
    }),
];

fn list(call: &mut Call<'_>, states: &[String], patterns: &[String]) -> Outcome {
    let mut files = call.world.unit_files();
    files.retain(|(path, state)| {
        let name = path.rsplit('/').next().unwrap_or_default();
        (states.is_empty() || states.iter().any(|wanted| wanted == state))
            && (patterns.is_empty() || patterns.iter().any(|pattern| glob::matches(pattern, name)))
    });
    values(&files)
}

/// `mode`: `full`, or only what is to be enabled, or only what is not.
fn preset(
    call: &mut Call<'_>,
    names: &[String],
    mode: &str,
    runtime: bool,
    force: bool,
) -> Result<FileChanges, Failure> {
    let verb = match mode {
        "" | "full" => FileVerb::Preset,
        "enable-only" => FileVerb::PresetEnable,
        "disable-only" => FileVerb::PresetDisable,
        _ => return Err(Failure::arguments(format!("Invalid preset mode {mode}"))),
    };
    change(call, verb, names, runtime, force)
}

fn switch(call: &mut Call<'_>, verb: FileVerb) -> Outcome {
    let (names, runtime, force): (Vec<String>, bool, bool) = call.message.body()?;
    let changes = change(call, verb, &names, runtime, force)?;
    values(&(changes.carries_install_info, changes.done))
}

fn change(
    call: &mut Call<'_>,
    verb: FileVerb,
    names: &[String],
    runtime: bool,
    force: bool,
) -> Result<FileChanges, Failure> {
    for name in names {
        // A path is for linking a file from elsewhere; the name at its end counts.
        call.name(name.rsplit('/').next().unwrap_or_default())?;
    }
    call.world.change_unit_files(verb, names, runtime, force)
}
