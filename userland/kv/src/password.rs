//! Passwords as they are kept: salted, and slow to guess (PBKDF2 with HMAC-SHA-256, RFC 8018).

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};

/// Rounds for new passwords. Old ones say their own.
const ROUNDS: NonZeroU32 = NonZeroU32::new(60_000).unwrap();
/// Rounds that are carried out at most, whatever a record says.
const ROUNDS_MAX: u32 = 10_000_000;

/// Letters and digits by chance, as many as are hard to guess.
pub fn random_text() -> String {
    let mut bytes = [0u8; 16];
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

/// What is kept of a password.
pub fn hash(password: &str) -> String {
    let mut salt = [0u8; 16];
    let _ = SystemRandom::new().fill(&mut salt);
    let mut key = [0u8; 32];
    pbkdf2::derive(PBKDF2_HMAC_SHA256, ROUNDS, &salt, password.as_bytes(), &mut key);
    format!("$pbkdf2-sha256${ROUNDS}${}${}", BASE64.encode(salt), BASE64.encode(key))
}

/// Whether this is the password.
pub fn verify(password: &str, kept: &str) -> bool {
    let mut parts = kept.split('$').skip(1);
    let (Some("pbkdf2-sha256"), Some(rounds), Some(salt), Some(key)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let rounds = rounds.parse().ok().filter(|rounds: &NonZeroU32| rounds.get() <= ROUNDS_MAX);
    let (Some(rounds), Ok(salt), Ok(key)) = (rounds, BASE64.decode(salt), BASE64.decode(key)) else {
        return false;
    };
    pbkdf2::verify(PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_opens() {
        let kept = hash("secret");
        assert!(verify("secret", &kept));
        assert!(!verify("Secret", &kept));
        assert!(!verify("secret", ""));
        assert!(!verify("secret", "$2a$10$0123456789"));
    }
}
