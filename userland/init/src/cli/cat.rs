//! `cat`: the files that a unit is made of, each under its path.

use super::properties::Properties;
use super::{Outcome, Session};

pub(super) fn cat(session: &mut Session<'_>, units: &[String]) -> Outcome {
    let mut code = 0;
    let mut first = true;
    for name in session.expand(units)? {
        let properties = Properties::of_unit(&mut session.client, &name)?;
        let fragment = properties.text("FragmentPath").to_owned();
        let paths: Vec<String> = Some(fragment)
            .filter(|path| !path.is_empty())
            .into_iter()
            .chain(properties.list("DropInPaths"))
            .collect();
        if paths.is_empty() {
            session.complain(&format!("No files found for {name}."));
            code = 1;
        }
        for path in paths {
            if !std::mem::take(&mut first) {
                session.say("")?;
            }
            match std::fs::read(&path) {
                Ok(bytes) => {
                    session.say(&format!("# {path}\n{}", String::from_utf8_lossy(&bytes).trim_end()))?
                }
                Err(error) => {
                    session.complain(&format!("Failed to cat {path}: {error}"));
                    code = 1;
                }
            }
        }
    }
    Ok(code)
}
