//! HTTPS with a certificate made at the start: FAL's Python client speaks nothing else.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// The names the certificate is good for: the machine's own, and FAL's.
const NAMES: [&str; 10] =
    ["localhost", "127.0.0.1", "::1", "queue.fal.run", "fal.run", "rest.fal.ai", "api.fal.ai", "fal.media", "*.fal.media", "*.falrun.com"];

/// A certificate could not be made or used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Making it failed.
    #[error("the simulator's certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// Using it failed.
    #[error("the simulator's certificate could not be used")]
    Setup(#[from] rustls::Error),
}

/// A certificate authority of this process only, and a certificate from it.
pub struct Tls {
    /// Accepts connections with the certificate.
    pub acceptor: TlsAcceptor,
    /// What a client must trust, in PEM.
    pub authority_pem: String,
}

impl Tls {
    /// Makes both. The authority's key is forgotten at once.
    pub fn new() -> Result<Self, TlsError> {
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name = named("FAL simulator, for tests on this machine");
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(NAMES.map(str::to_owned))?;
        leaf.distinguished_name = named("FAL simulator");
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(&key, &issuer)?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), authority_pem: authority_certificate.pem() })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
