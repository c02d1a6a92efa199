//! The number by which members, and Debian's etcd too, are compared: the CRC-32C of all records up to a revision.
//!
//! What a compaction would have to remove but has not yet is left out, so that members which are not equally far in it
//! agree. Source: etcd 3.4, mvcc/kvstore.go (hashByRev) and mvcc/key_index.go (keep).

use std::collections::HashMap;

use crc::{CRC_32_ISCSI, Crc, Table};

use super::View;
use super::mvcc::Revision;
use super::record::{Bucket, record_value, revision_key};

const CASTAGNOLI: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

impl View {
    /// The hash of the keyspace as of `at`, where everything below `compacted` is gone.
    pub fn hash_keys(&self, at: i64, compacted: i64) -> u32 {
        let mut newest: HashMap<&[u8], Revision> = HashMap::new();
        if compacted > 0 {
            for record in self.records.iter().filter(|record| record.modified.main <= at) {
                if record.is_tombstone() {
                    newest.remove(record.key.as_ref());
                } else {
                    newest.insert(&record.key, record.modified);
                }
            }
        }
        let mut digest = CASTAGNOLI.digest();
        digest.update(Bucket::Key.name().as_bytes());
        for record in self.records.iter().filter(|record| record.modified.main <= at) {
            let old = record.modified.main <= compacted && !newest.is_empty();
            if old && newest.get(record.key.as_ref()) != Some(&record.modified) {
                continue;
            }
            digest.update(&revision_key(record.modified, record.is_tombstone()));
            digest.update(&record_value(record));
        }
        digest.finalize()
    }
}
