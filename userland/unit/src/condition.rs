//! Condition*= and Assert*=, systemd.unit(5).

use crate::{Host, Probe};

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What follows `Condition` or `Assert`: `PathExists`, `Virtualization`, …
    pub name: &'static str,
    /// `|`: one of the so marked must hold.
    pub trigger: bool,
    /// `!`
    pub negate: bool,
    /// What to check it with.
    pub parameter: String,
}

/// Every check that systemd 252 knows.
pub const KINDS: &[&str] = &[
    "PathExists",
    "PathExistsGlob",
    "PathIsDirectory",
    "PathIsSymbolicLink",
    "PathIsMountPoint",
    "PathIsReadWrite",
    "PathIsEncrypted",
    "DirectoryNotEmpty",
    "FileNotEmpty",
    "FileIsExecutable",
    "KernelCommandLine",
    "KernelVersion",
    "Virtualization",
    "Architecture",
    "Host",
    "ACPower",
    "Security",
    "Capability",
    "NeedsUpdate",
    "FirstBoot",
    "User",
    "Group",
    "ControlGroupController",
    "Memory",
    "CPUs",
    "CPUFeature",
    "Environment",
    "OSRelease",
    "Firmware",
    "Credential",
    "MemoryPressure",
    "CPUPressure",
    "IOPressure",
];

/// Whether all hold: every plain one, and one of those marked `|` if there are any. Tells the first that does not.
pub fn hold<'a>(checks: &'a [Check], host: &Host, probe: &dyn Probe) -> Result<(), &'a Check> {
    let mut triggered = None;
    for check in checks {
        let holds = check.holds(host, probe);
        if check.trigger {
            let known = triggered.get_or_insert(Err(check));
            if holds {
                *known = Ok(());
            }
        } else if !holds {
            return Err(check);
        }
    }
    triggered.unwrap_or(Ok(()))
}

impl Check {
    fn holds(&self, host: &Host, probe: &dyn Probe) -> bool {
        self.test(host, probe) != self.negate
    }

    fn test(&self, host: &Host, probe: &dyn Probe) -> bool {
        let text = self.parameter.as_str();
        let yes = || matches!(text, "1" | "yes" | "y" | "true" | "t" | "on");
        match self.name {
            "PathExists" | "PathExistsGlob" => probe.path_exists(text),
            "PathIsDirectory" => probe.is_directory(text),
            "PathIsSymbolicLink" => probe.is_symlink(text),
            "PathIsMountPoint" => probe.is_mount_point(text),
            "PathIsReadWrite" => probe.is_writable(text),
            "DirectoryNotEmpty" => probe.is_directory_not_empty(text),
            "FileNotEmpty" => probe.is_file_not_empty(text),
            "FileIsExecutable" => probe.is_executable(text),
            "KernelCommandLine" => probe.kernel_command_line().iter().any(|word| {
                word == text
                    || (!text.contains('=') && word.split_once('=').is_some_and(|(name, _)| name == text))
            }),
            "KernelVersion" => {
                text.split_whitespace().all(|part| version_matches(&host.kernel_version, part))
            }
            "Virtualization" => match (probe.virtualization(), text) {
                (found, "yes" | "1" | "true" | "on") => found.is_some(),
                (found, "no" | "0" | "false" | "off") => found.is_none(),
                (Some((_, container)), "container") => container,
                (Some((_, container)), "vm") => !container,
                (Some((name, _)), _) => name == text,
                (None, _) => text == "none",
            },
            "Architecture" => text == host.architecture || text == "native",
            "Host" => text == host.machine_id || glob(text, &host.hostname),
            "ACPower" => probe.on_ac_power() == yes(),
            "Security" => probe.security(text),
            "Capability" => {
                crate::load::capability(text).is_some_and(|bit| probe.capabilities() & (1u64 << bit) != 0)
            }
            // the image's /usr changes only with a reboot into another slot, and /etc, /var follow at once
            "NeedsUpdate" => false,
            "FirstBoot" => probe.first_boot() == yes(),
            "User" => matches!(text, "root" | "0" | "@system"),
            "Group" => matches!(text, "root" | "0"),
            "ControlGroupController" => {
                let found = probe.cgroup_controllers();
                text == "v2"
                    || (text != "v1"
                        && text.split_whitespace().all(|name| found.iter().any(|have| have == name)))
            }
            "Memory" => compare(probe.memory(), text),
            "CPUs" => compare(probe.cpus(), text),
            "Environment" => match text.split_once('=') {
                Some((name, value)) => {
                    host.environment.iter().any(|(known, is)| known == name && is == value)
                }
                None => host.environment.iter().any(|(known, _)| known == text),
            },
            "OSRelease" => text.split_whitespace().all(|pair| {
                pair.split_once('=').is_some_and(|(key, value)| {
                    host.os_release.iter().any(|(known, is)| known == key && is == value.trim_matches('"'))
                })
            }),
            // what we cannot see is not so
            _ => false,
        }
    }
}

/// `>= 4.0`, `< 6`, or a glob pattern.
fn version_matches(version: &str, text: &str) -> bool {
    let (operator, rest) = operator(text);
    if operator.is_empty() { glob(rest, version) } else { holds(compare_versions(version, rest), operator) }
}

fn operator(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !"<>=!".contains(c)).unwrap_or(text.len());
    let (operator, rest) = text.split_at(end);
    (operator, rest.trim())
}

fn holds(order: std::cmp::Ordering, operator: &str) -> bool {
    match operator {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        "!=" => order.is_ne(),
        _ => order.is_eq(),
    }
}

/// Numbers compare as numbers, the rest as text.
fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        text.split(['.', '-', '+', '~'])
            .map(|part| {
                (part.parse().unwrap_or(0), part.trim_start_matches(|c: char| c.is_ascii_digit()).to_string())
            })
            .collect()
    };
    parts(a).cmp(&parts(b))
}

fn compare(have: u64, text: &str) -> bool {
    let (operator, rest) = operator(text);
    let want = crate::load::size(rest);
    want.is_ok_and(|want| holds(have.cmp(&want), if operator.is_empty() { ">=" } else { operator }))
}

/// `*` and `?`.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Paths;

    impl Probe for Paths {
        fn path_exists(&self, path: &str) -> bool {
            path == "/there"
        }

        fn kernel_command_line(&self) -> Vec<String> {
            vec!["quiet".into(), "corten.slot=a".into()]
        }
    }

    fn check(name: &'static str, trigger: bool, negate: bool, parameter: &str) -> Check {
        Check { name, trigger, negate, parameter: parameter.into() }
    }

    #[test]
    fn all_plain_ones_and_one_of_the_triggers() {
        let host = Host { kernel_version: "6.12.9-corten".into(), ..Host::default() };
        let there = check("PathExists", false, false, "/there");
        let cases = [
            (vec![], true),
            (vec![there.clone()], true),
            (vec![there.clone(), check("PathExists", false, true, "/there")], false),
            (vec![check("PathExists", true, false, "/x"), check("PathExists", true, false, "/there")], true),
            (vec![there, check("PathExists", true, false, "/x")], false),
            (vec![check("KernelCommandLine", false, false, "corten.slot")], true),
            (vec![check("KernelCommandLine", false, false, "corten.slot=b")], false),
            (vec![check("KernelVersion", false, false, ">=5.4")], true),
            (vec![check("KernelVersion", false, false, "6.*")], true),
            (vec![check("KernelVersion", false, false, "< 6.2")], false),
            (vec![check("Virtualization", false, true, "container")], true),
        ];
        for (checks, expected) in cases {
            assert_eq!(hold(&checks, &host, &Paths).is_ok(), expected, "{checks:?}");
        }
    }
}
