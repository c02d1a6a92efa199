//! TLS of clients and members: certificates from PEM files, and who is at the other end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Which files to use.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Our certificate, and those that sign it.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Who signs the certificates of others.
    pub ca: Option<PathBuf>,
    /// Whether others must show one.
    pub client_auth: bool,
}

/// What is wrong with them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{path}: {what}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// Something is missing.
    #[error("{0}")]
    Missing(&'static str),
    /// They do not fit together.
    #[error("certificate and key: {0}")]
    Tls(#[from] rustls::Error),
}

fn file(path: &Path) -> impl Fn(String) -> TlsError + '_ {
    move |what| TlsError::File { path: path.to_owned(), what }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = fs::read(path).map_err(|error| file(path)(error.to_string()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| file(path)(error.to_string()))?;
    if all.is_empty() { Err(file(path)("it holds no certificate".into())) } else { Ok(all) }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| file(path)(error.to_string()))?;
    }
    Ok(store)
}

impl Files {
    fn own(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Err(TlsError::Missing(
                "https URLs need --cert-file and --key-file (for peers: --peer-…)",
            ));
        };
        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key)(error.to_string()))?;
        Ok((certificates(cert)?, key_der))
    }

    /// For who listens.
    ///
    /// # Errors
    /// Which file cannot be used.
    pub fn server(&self) -> Result<ServerConfig, TlsError> {
        let (certs, key) = self.own()?;
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.ca {
            Some(ca) if self.client_auth => {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider)
                    .build()
                    .map_err(|error| file(ca)(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            None if self.client_auth => {
                return Err(TlsError::Missing("asking for certificates of clients needs --trusted-ca-file"));
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(certs, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// For who connects; the other's certificate must be signed by `ca`.
    ///
    /// # Errors
    /// Which file cannot be used.
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let store = match &self.ca {
            Some(ca) => roots(ca)?,
            None => RootCertStore::empty(),
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store);
        if self.cert.is_some() {
            let (certs, key) = self.own()?;
            return Ok(builder.with_client_auth_cert(certs, key)?);
        }
        Ok(builder.with_no_client_auth())
    }
}

impl Files {
    /// For who connects, if there is a certificate to show.
    ///
    /// # Errors
    /// Which file cannot be used.
    pub fn client_if_any(&self) -> Result<Option<Arc<ClientConfig>>, TlsError> {
        self.cert.is_some().then(|| self.client().map(Arc::new)).transpose()
    }
}

/// The common name in the subject of a certificate.
pub fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    // version, serial number, algorithm, issuer, validity; then the subject.
    let (tag, _, after) = element(rest)?;
    if tag == 0xa0 {
        rest = after;
    }
    for _ in 0..4 {
        rest = element(rest)?.2;
    }
    let (_, mut names, _) = element(rest)?;
    let mut found = None;
    while let Some((_, set, after)) = element(names) {
        names = after;
        let (_, pair, _) = element(set)?;
        let (_, id, value) = element(pair)?;
        // 2.5.4.3
        if id == [0x55, 0x04, 0x03] {
            found = std::str::from_utf8(element(value)?.1).ok().map(str::to_owned);
        }
    }
    found
}

/// The first element of DER: its tag, what is in it, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let (bytes, rest) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count))?;
        (bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}
