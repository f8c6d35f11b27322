//! One scrape job as it stands in a file.

use crate::yaml::{self, Cursor, Findings};

use super::global::GlobalConfig;
use super::scrape::ScrapeConfig;

/// The job called `name` as YAML with its secrets hidden, if `text`, a main configuration or a file of scrape jobs, has it.
pub fn job_text(text: &str, name: &str) -> Option<String> {
    let (root, _) = yaml::parse(text).ok()?;
    let root = root?;
    // What is secret is found out by reading; what is wrong elsewhere in the file does not matter here.
    let looking = Findings::default();
    let mut section = Cursor::new(&root, &looking).section()?;
    let jobs = section.take("scrape_configs")?;
    let wanted = jobs.items().into_iter().find(|item| {
        let aside = Findings::default();
        let job = ScrapeConfig::read(Cursor::new(item.node(), &aside), &GlobalConfig::default());
        job.is_some_and(|job| job.job_name == name)
    })?;
    let findings = Findings::default();
    ScrapeConfig::read(Cursor::new(wanted.node(), &findings), &GlobalConfig::default());
    let found = findings.finish(Some(wanted.node()));
    Some(yaml::emit(wanted.node(), &found.secrets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_job_without_its_secrets() {
        let text = "scrape_configs:\n- job_name: a\n- job_name: b\n  basic_auth: {username: u, password: p}\n";
        let job = job_text(text, "b").unwrap();
        assert!(job.contains("job_name: b") && job.contains("<secret>") && !job.contains("job_name: a"), "{job}");
        assert_eq!(job_text(text, "c"), None);
        assert_eq!(job_text("{", "a"), None);
    }
}
