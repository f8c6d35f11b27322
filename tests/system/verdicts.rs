//! `relatum` and promtool 3.5 end with the same exit code on the same files: every rule file and every file of unit tests of the
//! corpora, and web configurations.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;
use relatum_tests::program::binary;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("verdicts_on_rules_agree_with_promtool", &[Peer::Promtool3], true, rules),
        crate::with(
            "verdicts_on_web_configurations_agree_with_promtool",
            &[Peer::Promtool3],
            false,
            web_configurations,
        ),
    ]
}

/// Where our verdict is another, with the reason: a line each.
const OTHERWISE: &str = include_str!("../../crates/config/tests/newer_than_promtool.txt");

fn rules() -> anyhow::Result<()> {
    let corpora = crate::corpora().context("the corpora are there")?.join("conformance");
    let mut verdicts = Verdicts::default();
    for folder in ["rules/rulefmt", "rules/fixtures", "rules/promtool"] {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(corpora.join(folder))?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml"));
        paths.sort();
        for path in paths {
            let file = path.file_name().and_then(|name| name.to_str()).context("names are UTF-8")?;
            let is_test = std::fs::read_to_string(&path)?.lines().any(|line| line == "tests:");
            let command = if is_test { ["test", "rules"] } else { ["check", "rules"] };
            verdicts.compare(&corpora.join(folder), &format!("{folder}/{file}"), &[command[0], command[1], file])?;
        }
        verdicts.print(folder);
    }
    ensure!(verdicts.wrong.is_empty(), "{}", verdicts.wrong.join("\n"));
    Ok(())
}

const WEB_CONFIGURATIONS: &[&str] = &[
    "",
    "{}",
    "- a",
    "junk",
    "unknown: 1\n",
    "tls_server_config: {}\n",
    "tls_server_config: {cert_file: a.pem}\n",
    "tls_server_config: {key_file: a.key}\n",
    "tls_server_config: {cert_file: missing.pem, key_file: missing.key}\n",
    "tls_server_config: {cert_file: junk.pem, key_file: junk.pem}\n",
    "tls_server_config: {cert: a, key: b}\n",
    "tls_server_config: {cert: a, cert_file: b, key: c}\n",
    "tls_server_config: {cert: '', key: ''}\n",
    "tls_server_config: {min_version: TLS12}\n",
    "tls_server_config: {min_version: TLS14}\n",
    "tls_server_config: {cipher_suites: [a]}\n",
    "tls_server_config: {curve_preferences: [a]}\n",
    "tls_server_config: {client_auth_type: RequireAndVerifyClientCert}\n",
    "tls_server_config: {client_ca_file: missing.pem}\n",
    "http_server_config: {}\n",
    "http_server_config: {http2: false}\n",
    "http_server_config: {http2: maybe}\n",
    "http_server_config: {headers: {X-Frame-Options: deny}}\n",
    "http_server_config: {headers: {X-Frame-Options: x}}\n",
    "http_server_config: {headers: {X-Content-Type-Options: nosniff}}\n",
    "http_server_config: {headers: {X-Content-Type-Options: x}}\n",
    "http_server_config: {headers: {X-Other: x}}\n",
    "http_server_config: {headers: {Strict-Transport-Security: 'max-age=1'}}\n",
    "basic_auth_users: {}\n",
    "basic_auth_users: {a: ''}\n",
    "basic_auth_users: {a: b}\n",
    "basic_auth_users: {a: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze}\n",
    "basic_auth_users: {a: $2z$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze}\n",
    "basic_auth_users: [a]\n",
    "rate_limit: {}\n",
    "rate_limit: {burst: 1, interval: 1s}\n",
    "rate_limit: {burst: 1, interval: x}\n",
    "basic_auth_users: {a: b, a: c}\n",
    "{",
];

fn web_configurations() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("junk.pem"), "junk")?;
    let mut verdicts = Verdicts::default();
    for text in WEB_CONFIGURATIONS {
        std::fs::write(dir.path().join("web.yml"), text)?;
        verdicts.compare(dir.path(), text, &["check", "web-config", "web.yml"])?;
    }
    verdicts.print("web configurations");
    ensure!(verdicts.wrong.is_empty(), "{}", verdicts.wrong.join("\n"));
    Ok(())
}

#[derive(Debug, Default)]
struct Verdicts {
    same: usize,
    otherwise: usize,
    wrong: Vec<String>,
}

impl Verdicts {
    fn compare(&mut self, folder: &Path, what: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let ours = Command::new(binary()).current_dir(folder).args(arguments).output()?;
        let theirs = Peer::Promtool3.command()?.current_dir(folder).args(arguments).output()?;
        let reason = OTHERWISE.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(": "));
        match (ours.status.code() == theirs.status.code(), reason) {
            (true, None) => self.same += 1,
            (false, Some(_)) => self.otherwise += 1,
            (true, Some(reason)) => self.wrong.push(format!("{what}: no longer otherwise: {reason}")),
            (false, None) => {
                let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
                self.wrong.push(format!(
                    "{what:?}: we end with {}, promtool with {}\n{}\n{}",
                    ours.status,
                    theirs.status,
                    said(&ours.stderr),
                    said(&theirs.stderr)
                ));
            }
        }
        Ok(())
    }

    /// Prints the counts so far and begins anew; what is wrong stays for the end.
    fn print(&mut self, what: &str) {
        println!(
            "{what}: {} as promtool, {} otherwise for a known reason, {} wrong in all",
            self.same,
            self.otherwise,
            self.wrong.len()
        );
        (self.same, self.otherwise) = (0, 0);
    }
}
