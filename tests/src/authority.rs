//! A certificate authority: OpenSSL, with the databag that a charm around it would write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::peers::Peer;
use crate::program::Agent;

/// An authority with its key and certificate in a folder.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// A new one in `dir`, which need not exist.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let authority = Authority { dir: dir.to_owned() };
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=authority \
                         -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE";
        authority.openssl(arguments)?;
        Ok(authority)
    }

    /// The file with its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A key and a certificate for `name`, which is `DNS:…` or `IP:…`: their files.
    pub fn issue(&self, file: &str, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={file} -addext subjectAltName={name} \
             -keyout {file}.key -out request.csr"
        ))?;
        fs::write(
            self.dir.join(format!("{file}.pem")),
            self.sign(&fs::read_to_string(self.dir.join("request.csr"))?)?,
        )?;
        Ok((self.dir.join(format!("{file}.pem")), self.dir.join(format!("{file}.key"))))
    }

    /// The certificate for a request, each time another one.
    pub fn sign(&self, request: &str) -> anyhow::Result<String> {
        fs::write(self.dir.join("request.csr"), request)?;
        self.openssl(
            "x509 -req -in request.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 10 -copy_extensions copy -out new.pem",
        )?;
        Ok(fs::read_to_string(self.dir.join("new.pem"))?)
    }

    /// Answers all that `agent` asks for in the relation `key`; without one yet it is made first.
    pub fn answer(&self, agent: &Agent, key: &str) -> anyhow::Result<()> {
        let detail: Value = serde_json::from_str(&agent.must(["show-relation", key, "--format", "json"])?)?;
        let text = detail["local_unit"]["data"]["certificate_signing_requests"].as_str();
        let requests: Vec<Value> = serde_json::from_str(text.context("nothing is asked for")?)?;
        let ca = fs::read_to_string(self.certificate())?;
        let mut answers = Vec::new();
        for request in &requests {
            let request = request["certificate_signing_request"].as_str().context("a request is a text")?;
            let certificate = self.sign(request)?;
            answers.push(
                json!({"certificate": certificate, "certificate_signing_request": request, "ca": ca, "chain": []}),
            );
        }
        self.relate(agent, "certificates", &json!({"certificates": Value::from(answers).to_string()}))
    }

    /// Relates the application `ca` to `endpoint` of `agent`, or replaces what it says there.
    pub fn relate(&self, agent: &Agent, endpoint: &str, says: &Value) -> anyhow::Result<()> {
        let bags = json!({"application": format!("ca-{endpoint}"), "application-data": says, "units": {format!("ca-{endpoint}/0"): {}}});
        let file = self.dir.join("databags.json");
        fs::write(&file, bags.to_string())?;
        agent.must(["relate", endpoint, "--databag", &file.display().to_string()]).map(drop)
    }

    fn openssl(&self, arguments: &str) -> anyhow::Result<()> {
        let mut command = Peer::Openssl.command()?;
        let output = command.current_dir(&self.dir).args(arguments.split_whitespace()).output()?;
        ensure!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// The serial number of the certificate that is shown at `address`, if `ca` signed it.
pub fn serial_shown(address: &str, ca: &Path) -> anyhow::Result<String> {
    let mut command = Peer::Openssl.command()?;
    let arguments = ["s_client", "-verify_return_error", "-connect", address, "-CAfile"];
    let output = command.args(arguments).arg(ca).stdin(std::process::Stdio::null()).output()?;
    ensure!(output.status.success(), "{address}: {}", String::from_utf8_lossy(&output.stderr));
    let mut child = Command::new(Peer::Openssl.find().context("it was there")?)
        .args(["x509", "-noout", "-serial"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("stdin was asked for")?, &output.stdout)?;
    Ok(String::from_utf8(child.wait_with_output()?.stdout)?.trim().to_owned())
}
