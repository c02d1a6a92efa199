//! What init tells the journal of a unit, in links and files of /run/systemd/units: its invocation, its own rate limit
//! (`LogRateLimitIntervalSec=`, `LogRateLimitBurst=`), the last level that is kept (`LogLevelMax=`), and fields that
//! all its messages get (`LogExtraFields=`). Only root can write there. Source: systemd's journald-context.c reads
//! the same names.

use std::fs;

use crate::intake::limit::Rate;
use crate::place::{Place, parse_id};
use crate::record::Record;

/// A file of extra fields may not be larger.
const EXTRA_MAX: u64 = 256 << 10;

/// What is said of a unit.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The run of the unit.
    pub invocation_id: Option<String>,
    /// Its own bound.
    pub rate: Option<Rate>,
    /// The last priority that is kept.
    pub level_max: Option<u8>,
    /// Fields for all its messages.
    pub extra: Record,
}

impl Settings {
    /// Reads what is said of a unit.
    #[must_use]
    pub fn read(place: &Place, unit: &str) -> Settings {
        if unit.contains('/') {
            return Settings::default();
        }
        let path = |what: &str| place.path("/run/systemd/units").join(format!("{what}:{unit}"));
        let link = |what: &str| fs::read_link(path(what)).ok()?.into_os_string().into_string().ok();
        let number = |what: &str| link(what)?.parse::<u64>().ok();
        let rate = number("log-rate-limit-interval").zip(number("log-rate-limit-burst"));
        let extra = path("log-extra-fields");
        let small = fs::metadata(&extra).is_ok_and(|metadata| metadata.len() <= EXTRA_MAX);
        Settings {
            invocation_id: link("invocation").filter(|id| parse_id(id).is_some()),
            rate: rate
                .map(|(interval, burst)| Rate { interval, burst: u32::try_from(burst).unwrap_or(u32::MAX) }),
            level_max: number("log-level-max")
                .and_then(|level| u8::try_from(level).ok())
                .filter(|level| *level < 8),
            extra: if small {
                fs::read(extra).map(|bytes| fields(&bytes)).unwrap_or_default()
            } else {
                Record::default()
            },
        }
    }
}

/// Fields, each with its size in front as 64 bits.
fn fields(bytes: &[u8]) -> Record {
    let mut record = Record::default();
    let mut rest = bytes;
    while let Some((size, after)) = rest.split_first_chunk::<8>() {
        let field =
            usize::try_from(u64::from_le_bytes(*size)).ok().and_then(|size| after.split_at_checked(size));
        let Some((field, after)) = field else { break };
        rest = after;
        let Some(end) = field.iter().position(|byte| *byte == b'=') else { continue };
        if let (Some(name), Some(value)) = (field.get(..end), field.get(end + 1..)) {
            record.push_untrusted(name, value);
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_fields() {
        let root = tempfile::tempdir().unwrap();
        let units = root.path().join("run/systemd/units");
        fs::create_dir_all(&units).unwrap();
        for (what, value) in [
            ("invocation", "0123456789abcdef0123456789abcdef"),
            ("log-rate-limit-interval", "5000000"),
            ("log-rate-limit-burst", "7"),
            ("log-level-max", "4"),
        ] {
            symlink(value, units.join(format!("{what}:a.service"))).unwrap();
        }
        fs::write(
            units.join("log-extra-fields:a.service"),
            b"\x03\0\0\0\0\0\0\0A=1\x05\0\0\0\0\0\0\0_B=22\xff",
        )
        .unwrap();
        let settings = Settings::read(&Place::new(root.path()), "a.service");
        assert_eq!(settings.invocation_id.as_deref(), Some("0123456789abcdef0123456789abcdef"));
        assert_eq!(settings.rate, Some(Rate { interval: 5_000_000, burst: 7 }));
        assert_eq!(settings.level_max, Some(4));
        assert_eq!(settings.extra.fields(), [b"A=1"], "no trusted field can be claimed");
        assert!(Settings::read(&Place::new(root.path()), "b.service").invocation_id.is_none());
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(bytes: Vec<u8>) {
            let _ = fields(&bytes);
        }
    }
}
