//! Methods that work through jobs: start, stop and their kin, on the manager and on a unit; kill; job control.

use unit::{JobMode, KillWhom, UnitName, Verb};
use zvariant::{ObjectPath, Value};

use super::{Answer, Call, Method, Outcome, changes, done, reads, values};
use crate::dbus::path::{self, Object};
use crate::dbus::signals::object as object_path;
use crate::dbus::world::{Failure, Job};

pub(super) const MANAGER: &[Method] = &[
    changes("StartUnit", "ss", "o", |call, _| submit_named(call, Verb::Start)),
    changes("StopUnit", "ss", "o", |call, _| submit_named(call, Verb::Stop)),
    changes("ReloadUnit", "ss", "o", |call, _| submit_named(call, Verb::Reload)),
    changes("RestartUnit", "ss", "o", |call, _| submit_named(call, Verb::Restart)),
    changes("TryRestartUnit", "ss", "o", |call, _| submit_named(call, Verb::TryRestart)),
    changes("ReloadOrRestartUnit", "ss", "o", |call, _| submit_named(call, Verb::ReloadOrRestart)),
    changes("ReloadOrTryRestartUnit", "ss", "o", |call, _| submit_named(call, Verb::ReloadOrTryRestart)),
    changes("KillUnit", "ssi", "", |call, _| {
        let (name, whom, signal): (String, String, i32) = call.message.body()?;
        kill(call, &name, &whom, signal)
    }),
    changes("ResetFailedUnit", "s", "", |call, _| {
        let name: String = call.message.body()?;
        reset_failed(call, &name)
    }),
    changes("ResetFailed", "", "", |call, _| {
        call.world.reset_failed(None);
        done()
    }),
    changes("StartUnitWithFlags", "sst", "o", |call, _| {
        let (name, mode, _): (String, String, u64) = call.message.body()?;
        submit(call, Verb::Start, &name, &mode)
    }),
    changes("StartUnitReplace", "sss", "o", |call, _| {
        let (old, new, mode): (String, String, String) = call.message.body()?;
        let queued = |job: &Job| job.unit == old && job.kind == "start";
        if !call.world.jobs().iter().any(queued) {
            let text = format!("No job queued for unit {old}");
            return Err(Failure::new("org.freedesktop.systemd1.NoSuchJob", text));
        }
        submit(call, Verb::Start, &new, &mode)
    }),
    changes("EnqueueUnitJob", "sss", "uososa(uosos)", |call, _| {
        let (name, kind, mode): (String, String, String) = call.message.body()?;
        enqueue(call, &name, &kind, &mode)
    }),
    changes("EnqueueMarkedJobs", "", "ao", |_, _| {
        // No unit is ever marked: Markers= is not a property that can be set here.
        values(&Vec::<ObjectPath<'static>>::new())
    }),
    reads("GetJobAfter", "u", "a(usssoo)", |call, _| {
        let id: u32 = call.message.body()?;
        ordered(call, id, "Before")
    }),
    reads("GetJobBefore", "u", "a(usssoo)", |call, _| {
        let id: u32 = call.message.body()?;
        ordered(call, id, "After")
    }),
    reads("ListJobs", "", "a(usssoo)", |call, _| {
        values(&call.world.jobs().into_iter().map(line).collect::<Vec<_>>())
    }),
    reads("GetJob", "u", "o", |call, _| {
        let id: u32 = call.message.body()?;
        find(call, id)?;
        values(&object_path(path::of_job(id)))
    }),
    changes("CancelJob", "u", "", |call, _| {
        let id: u32 = call.message.body()?;
        cancel(call, id)
    }),
    changes("ClearJobs", "", "", |call, _| {
        for job in call.world.jobs() {
            call.world.cancel(job.id);
        }
        done()
    }),
];

pub(super) const UNIT: &[Method] = &[
    changes("Start", "s", "o", |call, object| submit_object(call, object, Verb::Start)),
    changes("Stop", "s", "o", |call, object| submit_object(call, object, Verb::Stop)),
    changes("Reload", "s", "o", |call, object| submit_object(call, object, Verb::Reload)),
    changes("Restart", "s", "o", |call, object| submit_object(call, object, Verb::Restart)),
    changes("TryRestart", "s", "o", |call, object| submit_object(call, object, Verb::TryRestart)),
    changes("ReloadOrRestart", "s", "o", |call, object| submit_object(call, object, Verb::ReloadOrRestart)),
    changes("ReloadOrTryRestart", "s", "o", |call, object| {
        submit_object(call, object, Verb::ReloadOrTryRestart)
    }),
    changes("Kill", "si", "", |call, object| {
        let (whom, signal): (String, i32) = call.message.body()?;
        kill(call, name_of(object), &whom, signal)
    }),
    changes("ResetFailed", "", "", |call, object| reset_failed(call, name_of(object))),
    changes("EnqueueJob", "ss", "uososa(uosos)", |call, object| {
        let (kind, mode): (String, String) = call.message.body()?;
        enqueue(call, name_of(object), &kind, &mode)
    }),
];

pub(super) const JOB: &[Method] = &[
    changes("Cancel", "", "", |call, object| cancel(call, number_of(object))),
    reads("GetAfter", "", "a(usssoo)", |call, object| ordered(call, number_of(object), "Before")),
    reads("GetBefore", "", "a(usssoo)", |call, object| ordered(call, number_of(object), "After")),
];

/// A job object's number; other objects do not have these methods, and no job has the number 0.
fn number_of(object: &Object) -> u32 {
    match object {
        Object::Job(id) => *id,
        _ => 0,
    }
}

type Line = (u32, String, &'static str, &'static str, ObjectPath<'static>, ObjectPath<'static>);

fn line(job: Job) -> Line {
    let (path, unit) = (object_path(path::of_job(job.id)), object_path(path::of_unit(&job.unit)));
    (job.id, job.unit, job.kind, job.state, path, unit)
}

/// The jobs of the units that a job's unit is ordered before, or after.
fn ordered(call: &mut Call<'_>, id: u32, dependency: &str) -> Outcome {
    let job = find(call, id)?;
    let facts = call.world.state_facts(&job.unit);
    let others: Vec<String> = match facts.get(dependency) {
        Some(Value::Array(names)) => {
            names.iter().filter_map(|name| String::try_from(name.clone()).ok()).collect()
        }
        _ => Vec::new(),
    };
    let jobs = call.world.jobs().into_iter().filter(|other| others.contains(&other.unit));
    values(&jobs.map(line).collect::<Vec<_>>())
}

fn enqueue(call: &mut Call<'_>, name: &str, kind: &str, mode: &str) -> Outcome {
    let verb = match kind {
        "start" => Verb::Start,
        "stop" => Verb::Stop,
        "reload" => Verb::Reload,
        "restart" => Verb::Restart,
        "try-restart" => Verb::TryRestart,
        "reload-or-restart" => Verb::ReloadOrRestart,
        "reload-or-try-restart" => Verb::ReloadOrTryRestart,
        "verify-active" => Verb::VerifyActive,
        _ => return Err(Failure::arguments(format!("Job type {kind} invalid"))),
    };
    match submit(call, verb, name, mode)? {
        Answer::Later(ticket) => Ok(Answer::LaterInFull(ticket)),
        answer => Ok(answer),
    }
}

/// A unit object's name; other objects do not have these methods.
pub(super) fn name_of(object: &Object) -> &str {
    match object {
        Object::Unit(name) => name,
        _ => "",
    }
}

/// A job by its number.
pub(super) fn find(call: &Call<'_>, id: u32) -> Result<Job, Failure> {
    call.world.jobs().into_iter().find(|job| job.id == id).ok_or_else(|| no_such_job(id))
}

fn no_such_job(id: u32) -> Failure {
    Failure::new("org.freedesktop.systemd1.NoSuchJob", format!("Job {id} does not exist."))
}

fn cancel(call: &mut Call<'_>, id: u32) -> Outcome {
    if call.world.cancel(id) { done() } else { Err(no_such_job(id)) }
}

fn submit_named(call: &mut Call<'_>, verb: Verb) -> Outcome {
    let (name, mode): (String, String) = call.message.body()?;
    submit(call, verb, &name, &mode)
}

fn submit_object(call: &mut Call<'_>, object: &Object, verb: Verb) -> Outcome {
    let mode: String = call.message.body()?;
    submit(call, verb, name_of(object), &mode)
}

fn submit(call: &mut Call<'_>, verb: Verb, name: &str, mode: &str) -> Outcome {
    let name = call.name(name)?;
    if name.is_template() {
        return Err(Failure::arguments(format!("Unit name {name} is missing the instance name.")));
    }
    let mode = mode_of(mode)?;
    Ok(Answer::Later(call.world.submit(verb, name.as_str(), mode)))
}

/// A job mode by systemd's word for it.
pub(super) fn mode_of(word: &str) -> Result<JobMode, Failure> {
    Ok(match word {
        "fail" => JobMode::Fail,
        "replace" => JobMode::Replace,
        "replace-irreversibly" => JobMode::ReplaceIrreversibly,
        "isolate" => JobMode::Isolate,
        "flush" => JobMode::Flush,
        "ignore-dependencies" => JobMode::IgnoreDependencies,
        "ignore-requirements" => JobMode::IgnoreRequirements,
        _ => return Err(Failure::arguments(format!("Job mode {word} invalid"))),
    })
}

fn kill(call: &mut Call<'_>, name: &str, whom: &str, signal: i32) -> Outcome {
    let listed = call.unit(name)?;
    let whom = match whom {
        "" | "all" | "all-fail" => KillWhom::All,
        "main" | "main-fail" => KillWhom::Main,
        "control" | "control-fail" => KillWhom::Control,
        _ => return Err(Failure::arguments(format!("Invalid who argument: {whom}"))),
    };
    if !(1..=64).contains(&signal) {
        return Err(Failure::arguments("Signal number out of range."));
    }
    if listed.load == "not-found" {
        return Err(Failure::new("org.freedesktop.systemd1.NoSuchUnit", format!("Unit {name} not loaded.")));
    }
    call.world.kill(&listed.id, whom, signal);
    done()
}

fn reset_failed(call: &mut Call<'_>, name: &str) -> Outcome {
    let name: UnitName = call.name(name)?;
    let listed = call.world.unit(name.as_str());
    let listed = listed.ok_or_else(|| {
        Failure::new("org.freedesktop.systemd1.NoSuchUnit", format!("Unit {name} not loaded."))
    })?;
    call.world.reset_failed(Some(&listed.id));
    done()
}
