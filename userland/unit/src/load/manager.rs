//! The section [Manager] of systemd-system.conf(5), as far as it is about units.

use super::exec::{environment, limit, stream};
use super::value::{amount, boolean, number, span, timeout};
use super::{Taken, service};
use crate::settings::Defaults;

/// Takes an assignment in. `None`: it is not about units.
///
/// # Errors
/// The value cannot be used: why.
pub fn set(defaults: &mut Defaults, key: &str, value: &str) -> Option<Result<(), String>> {
    match assign(defaults, key, value) {
        Ok(Taken::Yes) => Some(Ok(())),
        Ok(Taken::Unknown) => None,
        Err(why) => Some(Err(why)),
    }
}

fn assign(to: &mut Defaults, key: &str, value: &str) -> super::Outcome {
    let first = Defaults::default();
    match key {
        "DefaultTimeoutStartSec" => to.timeout_start = timeout(value)?,
        "DefaultTimeoutStopSec" => to.timeout_stop = timeout(value)?,
        "DefaultTimeoutAbortSec" if value.is_empty() => to.timeout_abort = None,
        "DefaultTimeoutAbortSec" => to.timeout_abort = Some(timeout(value)?),
        "DefaultDeviceTimeoutSec" => to.device_timeout = span(value)?,
        "DefaultRestartSec" => to.restart = span(value)?,
        "DefaultTimerAccuracySec" => to.timer_accuracy = span(value)?.max(1),
        "DefaultStartLimitIntervalSec" | "DefaultStartLimitInterval" => {
            to.start_limit_interval = span(value)?
        }
        "DefaultStartLimitBurst" => to.start_limit_burst = number(value)?,
        "DefaultTasksMax" => to.tasks_max = amount(value)?.unwrap_or(first.tasks_max),
        "DefaultOOMPolicy" => to.oom_policy = service::oom_policy(value)?,
        "DefaultOOMScoreAdjust" if value.is_empty() => to.oom_score_adjust = None,
        "DefaultOOMScoreAdjust" => {
            let score = number(value)?;
            if !(-1000..=1000).contains(&score) {
                return Err(format!("{score} is not from -1000 to 1000"));
            }
            to.oom_score_adjust = Some(score);
        }
        "DefaultStandardOutput" => to.output = stream::output(value, "stdout")?.unwrap_or(first.output),
        "DefaultStandardError" => to.error = stream::output(value, "stderr")?.unwrap_or(first.error),
        "DefaultEnvironment" if value.is_empty() => to.environment.clear(),
        "DefaultEnvironment" => environment::assign(&mut to.environment, value, &|word| Ok(word.to_owned()))?,
        // everything that the kernel can count is counted
        "DefaultCPUAccounting"
        | "DefaultIOAccounting"
        | "DefaultIPAccounting"
        | "DefaultBlockIOAccounting"
        | "DefaultMemoryAccounting"
        | "DefaultTasksAccounting" => _ = boolean(value)?,
        _ => {
            let Some(name) = key.strip_prefix("Default") else { return Ok(Taken::Unknown) };
            return limit::assign(&mut to.limits, name, value);
        }
    }
    Ok(Taken::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Amount, OomPolicy, Output, ResourceLimit};

    #[test]
    fn what_is_about_units_is_taken() {
        let mut to = Defaults::default();
        for (key, value) in [
            ("DefaultTimeoutStartSec", "10"),
            ("DefaultTimeoutStopSec", "0"),
            ("DefaultLimitNOFILE", "7:9"),
            ("DefaultEnvironment", "A=1 \"B=2 3\""),
            ("DefaultEnvironment", "A=4"),
            ("DefaultTasksMax", "30%"),
            ("DefaultOOMPolicy", "continue"),
            ("DefaultOOMScoreAdjust", "-5"),
            ("DefaultStandardOutput", "null"),
            ("DefaultMemoryAccounting", "no"),
        ] {
            assert_eq!(set(&mut to, key, value), Some(Ok(())), "{key}");
        }
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let want = Defaults {
            timeout_start: 10_000_000,
            timeout_stop: crate::INFINITY,
            limits: vec![ResourceLimit { name: "NOFILE", soft: 7, hard: 9 }],
            environment: vec![pair("B", "2 3"), pair("A", "4")],
            tasks_max: Amount::Share(3000),
            oom_policy: OomPolicy::Continue,
            oom_score_adjust: Some(-5),
            output: Output::Null,
            ..Defaults::default()
        };
        assert_eq!(to, want);
        for (key, value) in [
            ("DefaultTimeoutStartSec", "soon"),
            ("DefaultLimitNOFILE", "9:7"),
            ("DefaultOOMScoreAdjust", "1001"),
        ] {
            assert!(matches!(set(&mut to, key, value), Some(Err(_))), "{key}");
        }
        assert_eq!(to, want);
        assert_eq!(set(&mut to, "LogLevel", "info"), None);
        assert_eq!(set(&mut to, "DefaultLimitX", "1"), None);
    }
}
