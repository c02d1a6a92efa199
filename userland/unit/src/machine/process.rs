//! One process of a unit, from the wish to have it to its end.

use serde::{Deserialize, Serialize};

use crate::{Pid, Role, SpawnToken};

/// A process that was asked for; the pid comes with `Spawned`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// `None`: a process that the unit made itself (MAINPID=, PIDFile=).
    pub(crate) token: Option<SpawnToken>,
    pub(crate) pid: Option<Pid>,
    /// Of which directive, and which of its lines.
    pub(crate) line: (Role, usize),
    pub(crate) ignore_failure: bool,
}

impl Process {
    pub(crate) fn is(&self, pid: Pid) -> bool {
        self.pid == Some(pid)
    }
}

/// The last runs of a unit's command lines, by directive and place, in the order of their first ones. There are few.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Runs(Vec<((Role, usize), Run)>);

impl Runs {
    pub(crate) fn get(&self, line: (Role, usize)) -> Option<&Run> {
        self.0.iter().find(|(known, _)| *known == line).map(|(_, run)| run)
    }

    pub(crate) fn get_mut(&mut self, line: (Role, usize)) -> Option<&mut Run> {
        self.0.iter_mut().find(|(known, _)| *known == line).map(|(_, run)| run)
    }

    /// Takes the place of the line's run before.
    pub(crate) fn insert(&mut self, line: (Role, usize), run: Run) {
        match self.get_mut(line) {
            Some(before) => *before = run,
            None => {
                self.0.reserve_exact(1);
                self.0.push((line, run));
            }
        }
    }
}

/// How the last run of a command line went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Run {
    pub(crate) start: crate::Stamp,
    pub(crate) exit: crate::Stamp,
    pub(crate) pid: Option<Pid>,
    pub(crate) status: Option<crate::ExitStatus>,
}
