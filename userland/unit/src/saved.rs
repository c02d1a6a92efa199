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

/// A map whose keys are no strings, as a list of pairs.
pub(crate) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        target: S,
    ) -> Result<S::Ok, S::Error> {
        target.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(source: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(source)?.into_iter().collect())
    }
}
