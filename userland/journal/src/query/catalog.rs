//! What `-x` adds: an explanation of well-known messages, found by their `MESSAGE_ID`. `@FIELD@` stands for a field
//! of the message. Source: sd_messages(3) for the ids; the words are ours.

use std::io::{self, Write};

use crate::file::Id128;
use crate::place::parse_id;
use crate::query::output::Row;

/// A message, what it is about, and what that means.
struct Explanation {
    id: &'static str,
    subject: &'static str,
    text: &'static str,
}

const CATALOG: &[Explanation] = &[
    Explanation {
        id: "f77379a8490b408bbe5f6940505a777b",
        subject: "The journal has been started",
        text: "The system journal process has started up, opened the journal files for writing and takes\nmessages in.",
    },
    Explanation {
        id: "d93fb3c9c24d451a97cea615ce59c00b",
        subject: "The journal has been stopped",
        text: "The system journal process has shut down and closed its files.",
    },
    Explanation {
        id: "a596d6fe7bfa4994828e72309e95d61e",
        subject: "Messages from a service have been suppressed",
        text: "A service has logged too many messages within a time period. Messages from the service have been\ndropped. RateLimitIntervalSec= and RateLimitBurst= in journald.conf(5) set the bounds.",
    },
    Explanation {
        id: "e9bf28e6e834481bb6f48f548ad13606",
        subject: "Messages have been missed",
        text: "Kernel messages have been lost, because they came faster than the journal could take them in.",
    },
    Explanation {
        id: "ec387f577b844b8fa948f33cad9a75e6",
        subject: "Disk space used by the journal",
        text: "The journal takes @CURRENT_USE_PRETTY@ at @JOURNAL_PATH@ and may take @LIMIT_PRETTY@.",
    },
    Explanation {
        id: "39f53479d3a045ac8e11786248231fbf",
        subject: "A start job for unit @UNIT@ has finished successfully",
        text: "The unit is up.",
    },
    Explanation {
        id: "7d4958e842da4a758f6c1cdc7b36dcc5",
        subject: "A start job for unit @UNIT@ has begun execution",
        text: "It is being started; the result will be logged.",
    },
    Explanation {
        id: "be02cf6855d2428ba40df7e9d022f03d",
        subject: "A start job for unit @UNIT@ has failed",
        text: "See 'systemctl status @UNIT@' and 'journalctl -u @UNIT@' for what went wrong.",
    },
    Explanation {
        id: "9d1aaa27d60140bd96365438aad20286",
        subject: "A stop job for unit @UNIT@ has finished",
        text: "The unit is down.",
    },
    Explanation {
        id: "d9b373ed55a64feb8242e02dbe79a49c",
        subject: "Unit failed",
        text: "The unit @UNIT@ has entered the 'failed' state with result '@UNIT_RESULT@'.",
    },
    Explanation {
        id: "5eb03494b6584870a536b337290809b3",
        subject: "Automatic restarting of a unit has been scheduled",
        text: "Automatic restarting of the unit @UNIT@ has been scheduled, as its Restart= setting asks for.",
    },
    Explanation {
        id: "98e322203f7a4ed290d09fe03c09fe15",
        subject: "Unit process exited",
        text: "A process of unit @UNIT@ has ended: @EXIT_CODE@, @EXIT_STATUS@.",
    },
    Explanation {
        id: "fe6faa94e7774663a0da52717891d8ef",
        subject: "A process of unit @UNIT@ has been killed by the OOM killer",
        text: "The machine, or the unit's cgroup, ran out of memory.",
    },
    Explanation {
        id: "fc2e22bc6ee647b6b90729ab34a250b1",
        subject: "Process @COREDUMP_PID@ (@COREDUMP_COMM@) dumped core",
        text: "Process @COREDUMP_PID@ (@COREDUMP_COMM@) crashed.",
    },
];

/// Prints the explanation of a message, if there is one.
///
/// # Errors
/// What write(2) says.
pub fn print(row: &Row<'_>, out: &mut dyn Write) -> io::Result<()> {
    let Some(found) = row
        .get("MESSAGE_ID")
        .and_then(|id| CATALOG.iter().find(|explanation| explanation.id.as_bytes() == id))
    else {
        return Ok(());
    };
    let text = format!("Subject: {}\nDefined-By: systemd\n\n{}", found.subject, found.text);
    for line in fill_in(&text, row).split('\n') {
        writeln!(out, "{}", format!("░░ {line}").trim_end())?;
    }
    Ok(())
}

/// Lists what is explained: all, or the messages of these ids.
///
/// # Errors
/// What write(2) says.
pub fn list(out: &mut dyn Write, ids: &[Id128], whole: bool) -> io::Result<()> {
    let wanted = |id: &str| ids.is_empty() || parse_id(id).is_some_and(|id| ids.contains(&id));
    for Explanation { id, subject, text } in CATALOG.iter().filter(|known| wanted(known.id)) {
        if whole {
            writeln!(out, "-- {id}\nSubject: {subject}\nDefined-By: systemd\n\n{text}\n")?;
        } else {
            writeln!(out, "{id} systemd: {subject}")?;
        }
    }
    Ok(())
}

fn fill_in(text: &str, row: &Row<'_>) -> String {
    let mut filled = String::with_capacity(text.len());
    for (number, part) in text.split('@').enumerate() {
        if number % 2 == 0 {
            filled.push_str(part);
        } else {
            filled.push_str(&String::from_utf8_lossy(row.get(part).unwrap_or(b"n/a")));
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_is_sound() {
        for Explanation { id, subject, text } in CATALOG {
            assert!(crate::place::parse_id(id).is_some(), "{id}");
            assert!(subject.matches('@').count().is_multiple_of(2), "{subject}");
            assert!(text.matches('@').count().is_multiple_of(2), "{text}");
        }
    }
}
