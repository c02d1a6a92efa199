//! How the pieces of the engine's state are written where serde's own way does not fit.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer};

use crate::machine::Word;
use crate::{Host, Unit, UnitName};

/// A word of systemd's. It stays in memory: a state is read once in the life of a process, and has few.
pub(crate) fn word<'de, D: Deserializer<'de>>(source: D) -> Result<Word, D::Error> {
    String::deserialize(source).map(|word| &*word.leak())
}

/// Who stands in for a unit's definition until its files are read again.
pub(crate) fn nobody() -> Arc<Unit> {
    static NOBODY: LazyLock<Arc<Unit>> = LazyLock::new(|| {
        let name = UnitName::from_path("/", crate::UnitType::Mount);
        let name = name.unwrap_or_else(|_| unreachable!("every path has a name"));
        Arc::new(crate::load::load(&name, &Ok(Default::default()), None, &Host::default()))
    });
    NOBODY.clone()
}
