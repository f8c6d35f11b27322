//! Prometheus' template language for the labels and annotations of alerts: Go's `text/template` with Prometheus' functions.
//!
//! A template is parsed once and rendered for every alert. All of the language is here: variables, `if`, `with`, `range`,
//! `define`, `template` and `block`, and every function that Prometheus gives to alerts; `query` asks whoever renders, see
//! [`Query`]. What it writes is what Prometheus writes, and errors use Go's words. How much a template may do and write is
//! bounded, because templates come from outside.

mod exec;
mod format;
mod functions;
mod humanize;
mod lex;
mod parse;
mod time;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use relatum_model::Labels;
use thiserror::Error;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    program: Arc<Program>,
}

/// What a template can speak of.
#[derive(Debug, Clone, Copy)]
pub struct TemplateData<'a> {
    /// `$labels`, `.Labels`: the labels of the sample that made the alert, without its name.
    pub labels: &'a Labels,
    /// `$externalLabels`, `.ExternalLabels`.
    pub external_labels: &'a Labels,
    /// `$externalURL`, `.ExternalURL`.
    pub external_url: &'a str,
    /// `$value`, `.Value`.
    pub value: f64,
}

/// What a template can ask while it is rendered.
pub trait Query {
    /// The result of an instant query at [`Query::at_ms`]. The error is shown in place of the text.
    fn query(&self, expr: &str) -> Result<Vec<QuerySample>, String>;

    /// The time of the evaluation, in milliseconds since the epoch; what `now` gives.
    fn at_ms(&self) -> i64;
}

/// One sample of the result of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QuerySample {
    /// Its labels, the name of the metric included.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// Why a template cannot be parsed or rendered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct TemplateError {
    /// The line inside the template, from 1.
    pub line: u64,
    /// What is wrong, in Go's words.
    pub message: String,
}

impl TemplateError {
    fn invalid(line: u64, message: impl Into<String>) -> Self {
        TemplateError { line, message: message.into() }
    }
}

/// The template itself and those that it defines.
#[derive(Debug)]
struct Program {
    main: Vec<Node>,
    defined: BTreeMap<String, Vec<Node>>,
}

/// A part of a template.
#[derive(Debug)]
enum Node {
    Text(String),
    Action(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { subject: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { over: Pipeline, each: Vec<Node>, otherwise: Vec<Node> },
    Template { line: u64, name: String, data: Option<Pipeline> },
    Break,
    Continue,
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Debug)]
struct Pipeline {
    line: u64,
    /// The variables that get the result; two only for a `range` that counts.
    variables: Vec<String>,
    /// Whether the variables were there before (`=`, not `:=`).
    is_assignment: bool,
    /// Never empty.
    commands: Vec<Command>,
}

/// An operand, or a function with its arguments.
#[derive(Debug)]
struct Command {
    line: u64,
    /// Never empty.
    operands: Vec<Operand>,
}

#[derive(Debug)]
enum Operand {
    String(String),
    Integer(i64),
    /// A whole number that is too large, which Go finds out when it is needed.
    Overflow(String),
    Float(f64),
    Bool(bool),
    Nil,
    /// `.a.b`; no fields is the dot itself.
    Dot(Vec<String>),
    /// `$name.a.b`; the name without its dollar.
    Variable(String, Vec<String>),
    Function(functions::Function),
    /// `(pipeline).a`
    Parenthesis(Box<Pipeline>, Vec<String>),
}

/// The variables that Prometheus puts in front of every template.
const VARIABLES: [&str; 5] = ["", "labels", "externalLabels", "externalURL", "value"];

impl Template {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Template { program: Arc::new(parse::parse(lex::lex(text)?)?) })
    }

    /// Fills the template; a `query` in it fails. See [`Template::render_with`].
    pub fn render(&self, data: &TemplateData<'_>) -> Result<String, TemplateError> {
        exec::render(&self.program, data, None)
    }

    /// Fills the template. Fails where Go fails only when a template is executed: a field that the data does not have, a
    /// function with arguments it cannot use, a query that fails.
    pub fn render_with(&self, data: &TemplateData<'_>, query: &dyn Query) -> Result<String, TemplateError> {
        exec::render(&self.program, data, Some(query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> Result<String, String> {
        let data = TemplateData {
            labels: &Labels::from_pairs([("instance", "web.example.com:9100"), ("job", "node"), ("q", "0.5")]),
            external_labels: &Labels::from_pairs([("site", "north")]),
            external_url: "http://testhost:9090/path/prefix",
            value: 1_234_567.0,
        };
        let template = Template::parse(text).map_err(|error| format!("parse:{}: {error}", error.line))?;
        template.render(&data).map_err(|error| format!("render:{}: {error}", error.line))
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(render(text).as_deref(), Ok(expected), "template {text:?}");
    }

    #[track_caller]
    fn refuses(text: &str, message: &str) {
        assert_eq!(render(text).unwrap_err(), message, "template {text:?}");
    }

    #[test]
    fn data_of_the_alert() {
        check("plain text", "plain text");
        check("", "");
        check("{{ $labels.job }} is {{ $value }}", "node is 1.234567e+06");
        check("{{$.Labels.job}}/{{ .Labels.job }}/{{ .Value }}", "node/node/1.234567e+06");
        check(
            "{{ $externalLabels.site }} {{ .ExternalLabels.site }} {{ $externalURL }}",
            "north north http://testhost:9090/path/prefix",
        );
        // A label that is not there is empty, not an error.
        check("[{{ $labels.nothing }}]", "[]");
        check("{{ $labels }}", "map[instance:web.example.com:9100 job:node q:0.5]");
        check("{{\n  $labels.job\n}}", "node");
        check("a  {{- /* a comment */ -}}  b {{- 1 }} {{ 2 -}} c", "ab1 2c");
        check("}} { {{ `raw \"}}\"` }}", "}} { raw \"}}\"");
    }

    #[test]
    fn functions() {
        for (text, expected) in [
            (
                r#"{{ "1.0" | humanize }}:{{ humanize 1234567.0 }}:{{ .12 | humanize }}:{{ 0 | humanize }}"#,
                "1:1.235M:120m:0",
            ),
            ("{{ humanize 9223372036854775807 }}", "9.223E"),
            ("{{ humanize1024 1048576.0 }}:{{ humanize1024 .12 }}:{{ 1234567 | humanize1024 }}", "1Mi:0.12:1.177Mi"),
            (
                "{{ humanizeDuration 90061 }}:{{ humanizeDuration -183845 }}:{{ humanizeDuration 899.99 }}",
                "1d 1h 1m 1s:-2d 3h 4m 5s:14m 59s",
            ),
            (
                "{{ humanizeDuration .1 }}:{{ humanizeDuration .0001 }}:{{ humanizeDuration 1.2345 }}:{{ humanizeDuration 0 }}",
                "100ms:100us:1.234s:0s",
            ),
            (r#"{{ humanizeDuration "+Inf" }}:{{ humanize "NaN" }}:{{ humanizeTimestamp "-Inf" }}"#, "+Inf:NaN:-Inf"),
            (
                "{{ -0.22222 | humanizePercentage }}:{{ 0.0 | humanizePercentage }}:{{ 1234567 | humanizePercentage }}",
                "-22.22%:0%:1.235e+08%",
            ),
            ("{{ 1435065584.128 | humanizeTimestamp }}", "2015-06-23 13:19:44.128 +0000 UTC"),
            ("{{ humanizeTimestamp -1 }}", "1969-12-31 23:59:59 +0000 UTC"),
            (r#"{{ "aa bb CC" | title }}|{{ "aB" | toUpper }}|{{ "aB" | toLower }}"#, "Aa Bb CC|AB|ab"),
            (r#"{{ $labels.instance | stripPort }} {{ $labels.instance | stripDomain }}"#, "web.example.com web:9100"),
            (r#"{{ "[2001:0DB8::1]:1" | stripPort }} {{ "[::1]::1" | stripPort }}"#, "2001:0DB8::1 [::1]::1"),
            (r#"{{ "[2001:0DB8::1]:1" | stripDomain }} {{ "192.0.2.1" | stripDomain }}"#, "[2001:0DB8::1]:1 192.0.2.1"),
            ("{{ pathPrefix }} {{ externalURL }}", "/path/prefix http://testhost:9090/path/prefix"),
            (
                r#"{{ printf "%.2f %s %d%% %5.1f|%-4s|%04d %v %q %t" 1.005 "s" 7 2.25 "ab" 42 $value "x" true }}"#,
                "1.00 s 7%   2.2|ab  |0042 1.234567e+06 \"x\" true",
            ),
            (r#"{{ printf "%0.2f" (parseDuration "-1h2m10ms") }}"#, "-3720.01"),
            (
                r#"{{ printf "%d" 1.5 }} {{ printf "%s" 1 }} {{ printf "%s" }} {{ printf "a" 1 }}"#,
                "%!d(float64=1.5) %!s(int=1) %!s(MISSING) a%!(EXTRA int=1)",
            ),
            (
                r#"{{ "a b&c" | urlQueryEscape }} {{ graphLink "up == 0" }}"#,
                "a+b%26c /graph?g0.expr=up+%3D%3D+0&g0.tab=0",
            ),
            (r#"{{ if eq $labels.job "node" "x" }}yes{{ else }}no{{ end }}"#, "yes"),
            (r#"{{ if gt $value 2e6 }}high{{ else if and true (le $value 2e6) }}mid{{ else }}low{{ end }}"#, "mid"),
            (
                "{{ if not $labels.nothing }}none{{ end }}{{ if 0 }}zero{{ end }}{{ if .Labels }}some{{ end }}",
                "nonesome",
            ),
            (r#"{{ index $labels "job" }} {{ len $labels }} {{ print 1 2 "a" }} {{ or "" "b" }}"#, "node 3 1 2a b"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        refuses("{{ $label.instance }}", "parse:1: undefined variable \"$label\"");
        refuses("a\n{{ $labels.q * 100 }}", "parse:2: unexpected bad character U+002A '*' in command");
        refuses("{{", "parse:1: unclosed action");
        refuses("{{ foo 1 }}", "parse:1: function \"foo\" not defined");
        refuses("{{ }}", "parse:1: missing value for command");
        refuses("{{ 1 | 2 }}", "parse:1: non executable command in pipeline stage 2");
        refuses("{{ if true }}x", "parse:1: unexpected EOF");
        refuses("x{{ end }}", "parse:1: unexpected {{end}}");
        refuses("{{ (1 }}", "parse:1: unclosed left paren");
        refuses("{{ \"a }}", "parse:1: unterminated quoted string");
        refuses("{{/* a }}", "parse:1: unclosed comment");
        let data = "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }";
        refuses("{{ .Foo }}", &format!("render:1: can't evaluate field Foo in type {data}"));
        refuses("{{ $labels.job.x }}", "render:1: can't evaluate field x in type string");
        refuses(
            "{{ humanize \"one\" }}",
            "render:1: error calling humanize: strconv.ParseFloat: parsing \"one\": invalid syntax",
        );
        refuses("{{ humanize }}", "render:1: wrong number of args for humanize: want 1 got 0");
        refuses("{{ 1 2 }}", "render:1: can't give argument to non-function 1");
        refuses("{{ toUpper 1 }}", "render:1: expected string; found 1");
        refuses(&format!("{{{{ {}1 }}}}", "(".repeat(5000)), "parse:1: max expression depth exceeded");
    }

    #[test]
    fn work_is_bounded() {
        let deep = "{{ if true }}".repeat(5000) + &"{{ end }}".repeat(5000);
        let doubled = format!("{{{{ $x := \"abcdefgh\" }}}}{}", "{{ $x = print $x $x }}".repeat(60));
        for text in [
            "{{ range 2000000000 }}{{ end }}",
            "{{ range 9223372036854775807 }}{{ end }}",
            "{{ range 1000 }}{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}{{ end }}",
            "{{ define `r` }}{{ template `r` }}{{ end }}{{ template `r` }}",
            "{{ define `r` }}{{ template `r` }}{{ template `r` }}{{ end }}{{ template `r` }}",
            "{{ range 100000 }}{{ printf `%999d` 1 }}{{ end }}",
            "{{ reReplaceAll `` (printf `%999d` 1) (printf `%999999d` 1) | len }}{{ range 5000 }}{{ reReplaceAll `` (printf `%999d` 1) (printf `%999d` 1) }}{{ end }}",
            &deep,
            &doubled,
        ] {
            let start = std::time::Instant::now();
            assert!(render(text).is_err(), "{}", &text[..text.len().min(80)]);
            assert!(start.elapsed().as_secs() < 5, "{}", &text[..text.len().min(80)]);
        }
    }
}
