//! The two hashes of the format: SipHash-2-4 keyed with the file's id finds data and fields; Bob Jenkins' lookup3
//! (`hashlittle2`) makes the checksum of an entry, because that one must be the same in every file.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// The hash by which a file with this id finds `bytes`.
#[must_use]
pub fn keyed(file_id: &[u8; 16], bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(file_id);
    hasher.write(bytes);
    hasher.finish()
}

/// lookup3's `hashlittle2` with both seeds zero, the primary value in the high half.
#[must_use]
pub fn jenkins(bytes: &[u8]) -> u64 {
    let seed = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let mut state = [seed; 3];
    // The last block, full or not, is mixed differently, so at least one byte stays for it.
    let whole = bytes.len().saturating_sub(1) / 12 * 12;
    let (blocks, rest) = bytes.split_at(whole);
    for block in blocks.chunks_exact(12) {
        add(&mut state, block);
        mix(&mut state);
    }
    if !rest.is_empty() {
        add(&mut state, rest);
        finish(&mut state);
    }
    let [_, b, c] = state;
    u64::from(c) << 32 | u64::from(b)
}

/// Adds up to twelve bytes, as three little-endian words padded with zeros.
fn add(state: &mut [u32; 3], bytes: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(bytes.chunks(4)) {
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        *word = word.wrapping_add(value);
    }
}

fn mix(state: &mut [u32; 3]) {
    let [a, b, c] = state;
    *a = a.wrapping_sub(*c) ^ c.rotate_left(4);
    *c = c.wrapping_add(*b);
    *b = b.wrapping_sub(*a) ^ a.rotate_left(6);
    *a = a.wrapping_add(*c);
    *c = c.wrapping_sub(*b) ^ b.rotate_left(8);
    *b = b.wrapping_add(*a);
    *a = a.wrapping_sub(*c) ^ c.rotate_left(16);
    *c = c.wrapping_add(*b);
    *b = b.wrapping_sub(*a) ^ a.rotate_left(19);
    *a = a.wrapping_add(*c);
    *c = c.wrapping_sub(*b) ^ b.rotate_left(4);
    *b = b.wrapping_add(*a);
}

fn finish(state: &mut [u32; 3]) {
    let [a, b, c] = state;
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(14));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(11));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(25));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(16));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(4));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(14));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(24));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jenkins_as_published() {
        // The self-test of lookup3.c, driver5: hashlittle2("", 0, 0) and "Four score and seven years ago".
        assert_eq!(jenkins(b""), 0xdead_beef_dead_beef);
        assert_eq!(jenkins(b"Four score and seven years ago"), 0x1777_0551_ce72_26e6);
    }

    #[test]
    fn siphash_as_published() {
        // The reference vectors of SipHash: key 00..0f, message of no and of eight bytes.
        let key = std::array::from_fn(|index| index as u8);
        assert_eq!(keyed(&key, b""), 0x726f_db47_dd0e_0e31);
        assert_eq!(keyed(&key, &[0, 1, 2, 3, 4, 5, 6, 7]), 0x93f5_f579_9a93_2462);
    }
}
