//! A proxy that ends TLS in front of a server, as sites have it: the certificate is the proxy's, the server behind speaks plain HTTP.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How long either side is listened to before the other one has its turn.
const TURN: Duration = Duration::from_millis(5);

/// Starts one in front of `behind`, a `host:port`; gives its own port on 127.0.0.1, for which its
/// certificate is, and the file with the authority to trust.
pub fn start(behind: &str) -> anyhow::Result<(u16, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/transport/testdata/tls");
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(folder.join("server.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the test certificate is usable")?;
    let (config, behind) = (Arc::new(config), behind.to_owned());
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (config, behind) = (Arc::clone(&config), behind.clone());
            // A connection that fails is the caller's to notice.
            std::thread::spawn(move || drop(pass(config, stream, &behind)));
        }
    });
    Ok((port, folder.join("ca.pem")))
}

/// Passes bytes both ways until either side is done.
fn pass(config: Arc<ServerConfig>, front: TcpStream, behind: &str) -> anyhow::Result<()> {
    let mut back = TcpStream::connect(behind)?;
    front.set_read_timeout(Some(TURN))?;
    back.set_read_timeout(Some(TURN))?;
    let mut front = StreamOwned::new(ServerConnection::new(config)?, front);
    let mut buffer = vec![0; 1 << 16];
    loop {
        if !turn(&mut front, &mut back, &mut buffer)? || !turn(&mut back, &mut front, &mut buffer)? {
            return Ok(());
        }
    }
}

/// Passes on what one side has; `false` when it is done.
fn turn(from: &mut impl Read, to: &mut impl Write, buffer: &mut [u8]) -> anyhow::Result<bool> {
    match from.read(buffer) {
        Ok(0) => Ok(false),
        Ok(length) => {
            to.write_all(&buffer[..length])?;
            to.flush()?;
            Ok(true)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
