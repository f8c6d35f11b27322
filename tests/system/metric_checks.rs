//! `relatum check metrics` and promtool say the same of the same bodies: word for word what they find, and the same exit code.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;
use relatum_tests::program::binary;

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::with("metric_checks_agree_with_promtool", &[Peer::Promtool3], false, verdicts)]
}

/// Bodies; those with less than two families are also counted, because promtool orders equals by chance.
const BODIES: &[&str] = &[
    "",
    "\n\n  \n",
    "a 1\n",
    "a 1",
    "# HELP a_total b\n# TYPE a_total counter\na_total 1\n",
    "# HELP a b\n# TYPE a counter\na 1\n",
    "# HELP a_total b\n# TYPE a_total gauge\na_total 1\n",
    "# HELP a_total b\n# TYPE a_total untyped\na_total 1\n",
    "# TYPE a_gauge gauge\na_gauge 1\n",
    "# TYPE a_histogram_b histogram\na_histogram_b_bucket{le=\"1\"} 1\na_histogram_b_sum 1\na_histogram_b_count 1\n",
    "# HELP a_bucket b\n# TYPE a_bucket gauge\na_bucket 1\n",
    "# HELP a_sum b\n# TYPE a_sum gauge\na_sum 1\n",
    "# HELP a_count b\n# TYPE a_count summary\na_count 1\n",
    "# HELP a_count b\n# TYPE a_count gauge\na_count 1\n",
    "# HELP a b\n# TYPE a gauge\na{le=\"1\"} 1\na{le=\"2\",quantile=\"1\"} 1\n",
    "# HELP a b\n# TYPE a histogram\na{quantile=\"1\"} 1\na_bucket{le=\"1\"} 1\n",
    "a{le=\"1\",quantile=\"1\"} 1\n",
    "# HELP a:b c\n# TYPE a:b gauge\na:b 1\n",
    "# HELP aB c\n# TYPE aB gauge\naB{cD=\"1\",e=\"2\"} 1\naB{cD=\"2\"} 1\n",
    "# HELP a_milliseconds c\n# TYPE a_milliseconds gauge\na_milliseconds 1\n",
    "# HELP a_minutes_bytes c\n# TYPE a_minutes_bytes gauge\na_minutes_bytes 1\n",
    "# HELP a_kilometres c\n# TYPE a_kilometres gauge\na_kilometres 1\n",
    "# HELP a_ms_b c\n# TYPE a_ms_b gauge\na_ms_b 1\n",
    "# HELP ms c\n# TYPE ms gauge\nms 1\n",
    "# HELP a_fahrenheit_gibibits c\n# TYPE a_fahrenheit_gibibits gauge\na_fahrenheit_gibibits 1\n",
    "# HELP a b\n# TYPE a gauge\na{b=\"1\"} 1\na{b=\"1\"} 2\na{b=\"1\"} 3\na{b=\"2\"} 3\na{b=\"2\"} 3\n",
    "# HELP a b\n# TYPE a gauge\na 1\na{} 2\n",
    "# HELP a b\n# TYPE a gauge\na{b=\"1\",c=\"2\"} 1\na{c=\"2\",b=\"1\"} 1\n",
    "# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 1\na_count 2\n",
    "# HELP a b\n# TYPE a histogram\na_bucket{c=\"1\",le=\"1\"} 1\na_bucket{c=\"2\",le=\"1\"} 2\na_bucket{c=\"2\",le=\"2\"} 2\n",
    "# HELP a b\n# TYPE a summary\na{quantile=\"0.5\"} 1\na{quantile=\"1\"} 2\na_sum 1\na_count 2\n",
    "# HELP a b\n# TYPE a summary\na_sum 1\na_count 2\na_bucket 3\n",
    // What belongs to a histogram only if its kind is known by then.
    "a_bucket{le=\"1\"} 1\n# HELP a b\n# TYPE a histogram\na_bucket{le=\"2\"} 1\na_sum 1\n",
    "# HELP a b\n# HELP a b\n",
    "# HELP a b\na 1\n# HELP a c\n",
    "# TYPE a gauge\n# TYPE a gauge\n",
    "a 1\n# TYPE a gauge\n",
    "# HELP a b\\nc\\\\d\\\"\na 1\n",
    "# HELP a b\\c\na 1\n",
    "# HELP a\na 1\n",
    "# HELP a \na 1\n",
    "# TYPE a\na 1\n",
    "# TYPE a GAUGE\na 1\n",
    "# TYPE a unknown\na 1\n",
    "# TYPE a info\na 1\n",
    "# TYPE a gauge \na 1\n",
    "# TYPE 1 gauge\n",
    "#comment\n# other comment\n#\n# \na 1\n",
    "# comment without end",
    "# TYPE a",
    "a{b=\"c\"} 1 2\n",
    "a{b=\"c\"} 1 -2\n",
    "a{b=\"c\"} 1 2.5\n",
    "a{b=\"c\"} 1 \n",
    "a{b=\"c\"} 1 2 3\n",
    "a{b=\"c\"} 1 2 \n",
    "a{b=\"c\",} 1\n",
    "a{b=\"c\",,} 1\n",
    "a{,} 1\n",
    "a{} 1\n",
    "a {b = \"c\" , d=\"e\" } 1\n",
    "a{b=\"c\" d=\"e\"} 1\n",
    "a{b='c'} 1\n",
    "a{b} 1\n",
    "a{b=c} 1\n",
    "a{b=\"c} 1\n",
    "a{b=\"c\nd\"} 1\n",
    "a{b=\"c\\x\"} 1\n",
    "a{b=\"\\n\\\\\\\"\"} 1\n",
    "a{b=\"1\",b=\"2\"} 1\n",
    "a{__name__=\"b\"} 1\n",
    "{\"a\",\"b\"} 1\n",
    "{\"a\" 1\n",
    "1a 1\n",
    "- 1\n",
    "\u{fc} 1\n",
    "a\n",
    "a x\n",
    "a 0x1p3\n",
    "a 1_000\n",
    "a 1e999\n",
    "a +Inf\n",
    "a -nan\n",
    "a\t1\t2\n",
    "a 1\r\n",
    "a\u{0} 1\n",
    "# TYPE a histogram\na_count -1\n",
    "# TYPE a histogram\na_bucket{le=\"1\"} -1\n",
    "# TYPE a histogram\na_bucket{le=\"x\"} 1\n",
    "# TYPE a summary\na{quantile=\"x\"} 1\n",
    "# TYPE a summary\na_count -1\n",
    "# TYPE a histogram\na_bucket{le=\"NaN\"} 1\n",
    "# HELP b x\n# TYPE b gauge\nb 1\nb{c=\"d\"} 2\n# HELP a x\n# TYPE a gauge\na 1\n",
    "# TYPE a counter\n# UNIT a seconds\na_total 1 # {b=\"c\"} 1\n# EOF\n",
    "# TYPE a counter\n# UNIT a seconds\na_total 1\n# EOF\n",
];

/// Bodies that we judge otherwise on purpose: the exit code is ours.
const OTHERWISE: &[(&str, i32, &str)] = &[
    ("# TYPE a gau\\ge\na 1\n", 1, "promtool drops backslashes from kinds"),
    (
        "# TYPE \"a.b\" gauge\n# HELP \"a.b\" c\n{\"a.b\"} 1\n{\"a.b\",c=\"d\"} 2\n",
        0,
        "names in UTF-8, which servers take since 3.0, promtool refuses",
    ),
    (
        "# HELP a b\n# TYPE a gauge\na{\"b.c\"=\"d\"} 1\n",
        0,
        "names in UTF-8, which servers take since 3.0, promtool refuses",
    ),
    ("a 1\n{b=\"c\"} 2\n", 1, "promtool counts a sample without name to the family before it"),
];

fn verdicts() -> anyhow::Result<()> {
    let mut bodies: Vec<Vec<u8>> = BODIES.iter().map(|body| body.as_bytes().to_vec()).collect();
    bodies.extend([b"a{b=\"\xff\"} 1\n".to_vec(), b"{\"\xff\"} 1\n".to_vec(), b"# HELP a \xff\na 1\n".to_vec()]);
    let mut differences = Vec::new();
    for body in &bodies {
        for arguments in [&["check", "metrics"][..], &["check", "metrics", "--extended"]] {
            let ours = said(Command::new(binary()).args(arguments), body)?;
            let mut theirs = said(Peer::Promtool3.command()?.args(arguments), body)?;
            // Since after 3.5, series are counted also where a lint found something.
            if theirs.code == Some(3) {
                theirs.stdout.clone_from(&ours.stdout);
            }
            if ours != theirs {
                let body = String::from_utf8_lossy(body);
                differences.push(format!("{arguments:?} of {body:?}:\n{ours:#?}\nis not\n{theirs:#?}"));
            }
        }
    }
    for (body, code, reason) in OTHERWISE {
        let ours = said(Command::new(binary()).args(["check", "metrics"]), body.as_bytes())?;
        let theirs = said(Peer::Promtool3.command()?.args(["check", "metrics"]), body.as_bytes())?;
        if ours.code != Some(*code) || ours.code == theirs.code {
            differences.push(format!("{body:?}: no longer otherwise: {reason}\n{ours:#?}\n{theirs:#?}"));
        }
    }
    println!("metric checks: {} as promtool's, {} otherwise", 2 * bodies.len() - differences.len(), differences.len());
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn said(command: &mut Command, body: &[u8]) -> anyhow::Result<Said> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("the child has a stdin")?.write_all(body)?;
    let Output { status, stdout, stderr } = child.wait_with_output()?;
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok(Said { code: status.code(), stdout, stderr })
}
