//! Public keys, and whether one of them made a signature.
//!
//! ECDSA on P-256 with SHA-256 and a DER signature, which is what cosign makes, and Ed25519. Source: RFC 5480
//! and RFC 8410 (the keys), RFC 7468 (PEM).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};

/// What precedes the point of a P-256 key in its SubjectPublicKeyInfo.
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P256_POINT: usize = 65;
/// The same for Ed25519.
const ED25519_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const ED25519_POINT: usize = 32;

/// A public key.
#[derive(Clone, Debug)]
pub struct Key {
    algorithm: &'static dyn VerificationAlgorithm,
    point: Vec<u8>,
}

impl Key {
    /// Reads a key in PEM form.
    ///
    /// # Errors
    /// When it is none, or of a kind that is not verified here.
    pub fn from_pem(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "not a public key in PEM form".to_owned())?;
        let body = text.split_once("-----BEGIN PUBLIC KEY-----").and_then(|(_, rest)| {
            let (body, after) = rest.split_once("-----END PUBLIC KEY-----")?;
            // Of two keys, which one counts would be a guess.
            (!after.contains("-----BEGIN")).then_some(body)
        });
        let body = body.ok_or_else(|| "not one public key in PEM form".to_owned())?;
        let compact: String = body.split_whitespace().collect();
        let der = STANDARD.decode(compact).map_err(|error| format!("the key is not base64: {error}"))?;
        Self::from_der(&der)
    }

    /// Reads a key in PEM form, in base64 once more.
    ///
    /// # Errors
    /// When it is none, or of a kind that is not verified here.
    pub fn from_base64(data: &str) -> Result<Self, String> {
        let pem = STANDARD.decode(data.trim()).map_err(|error| format!("keyData is not base64: {error}"))?;
        Self::from_pem(&pem)
    }

    fn from_der(der: &[u8]) -> Result<Self, String> {
        let kinds: [(&[u8], usize, &'static dyn VerificationAlgorithm); 2] =
            [(P256, P256_POINT, &ECDSA_P256_SHA256_ASN1), (ED25519_PREFIX, ED25519_POINT, &ED25519)];
        for (prefix, length, algorithm) in kinds {
            if let Some(point) = der.strip_prefix(prefix).filter(|point| point.len() == length) {
                return Ok(Self { algorithm, point: point.to_vec() });
            }
        }
        Err("the key is neither of ECDSA P-256 nor of Ed25519".to_owned())
    }

    /// Whether this key signed the message.
    #[must_use]
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm, &self.point).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    fn pem(prefix: &[u8], point: &[u8]) -> String {
        let der = STANDARD.encode([prefix, point].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
    }

    #[test]
    fn both_kinds_verify_and_nothing_else_does() {
        let random = SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let edwards = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let ecdsa =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let message = b"payload";
        let first = pem(ED25519_PREFIX, edwards.public_key().as_ref());
        let second = pem(P256, ecdsa.public_key().as_ref());
        let (first, second) =
            (Key::from_pem(first.as_bytes()).unwrap(), Key::from_base64(&STANDARD.encode(second)).unwrap());
        let (by_first, by_second) = (
            edwards.sign(message).as_ref().to_vec(),
            ecdsa.sign(&random, message).unwrap().as_ref().to_vec(),
        );
        assert!(first.signed(message, &by_first) && second.signed(message, &by_second));
        assert!(!first.signed(message, &by_second) && !second.signed(message, &by_first));
        assert!(!first.signed(b"payloaD", &by_first) && !second.signed(b"payloaD", &by_second));
        assert!(!first.signed(message, b"") && !second.signed(message, &by_second[1..]));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let good = pem(ED25519_PREFIX, &[7; 32]);
        assert!(Key::from_pem(good.as_bytes()).is_ok());
        for bad in [
            String::new(),
            pem(ED25519_PREFIX, &[7; 31]),
            pem(P256, &[4; 64]),
            pem(b"\x30\x82", &[0; 300]),
            good.repeat(2),
            good.replace("PUBLIC", "PRIVATE"),
            good.replace("MCo", "*Co"),
        ] {
            assert!(Key::from_pem(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
