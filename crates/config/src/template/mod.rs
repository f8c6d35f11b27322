//! Prometheus' template language for the labels and annotations of alerts: Go's `text/template` with Prometheus' functions.
//!
//! A template is parsed once and rendered for every alert. Understood are text, comments, trimming, `if`, pipelines, literals,
//! the data of the alert and most functions. What Go would understand and we do not yet (`range`, `with`, `define`, own
//! variables, `query` and what works on its result, times) is refused by its name when the template is parsed, never left out
//! when it is rendered. Errors use Go's words.

mod eval;
mod format;
mod functions;
mod humanize;
mod lex;
mod parse;

use relatum_model::Labels;
use thiserror::Error;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    nodes: Vec<Node>,
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

/// Why a template cannot be parsed or rendered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct TemplateError {
    /// The line inside the template, from 1.
    pub line: u64,
    /// Whether Prometheus would understand it.
    pub unsupported: bool,
    /// What is wrong, in Go's words.
    pub message: String,
}

impl TemplateError {
    fn invalid(line: u64, message: impl Into<String>) -> Self {
        TemplateError { line, unsupported: false, message: message.into() }
    }

    fn unsupported(line: u64, what: &str) -> Self {
        TemplateError { line, unsupported: true, message: format!("{what} is not supported yet") }
    }
}

/// A part of a template.
#[derive(Debug, Clone)]
enum Node {
    Text(String),
    Action(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Debug, Clone)]
struct Pipeline {
    commands: Vec<Command>,
}

/// An operand, or a function with its arguments.
#[derive(Debug, Clone)]
struct Command {
    line: u64,
    /// Never empty.
    operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
enum Operand {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Nil,
    /// `.a.b`, `$.a.b`: from the data of the alert; no fields is the data itself.
    Data(Vec<String>),
    /// `$labels.a`: from one of the variables that Prometheus defines.
    Variable(Variable, Vec<String>),
    Function(functions::Function),
    /// `(pipeline).a`
    Parenthesis(Pipeline, Vec<String>),
}

/// The variables that Prometheus puts in front of every template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Labels,
    ExternalLabels,
    ExternalUrl,
    Value,
}

impl Template {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Template { nodes: parse::parse(lex::lex(text)?)? })
    }

    /// Fills the template. Fails where Go fails only when a template is executed: a field that the data does not have, a
    /// function with arguments it cannot use.
    pub fn render(&self, data: &TemplateData<'_>) -> Result<String, TemplateError> {
        eval::render(&self.nodes, data)
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
        refuses("{{ .Foo }}", "render:1: can't evaluate field Foo in the data of an alert");
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
    fn names_what_is_missing() {
        refuses("{{ reReplaceAll \"a\" \"b\" \"c\" }}", "parse:1: function reReplaceAll is not supported yet");
        refuses("{{ range query \"up\" }}{{ end }}", "parse:1: {{range}} is not supported yet");
        refuses("{{ $x := 1 }}", "parse:1: declaring $x is not supported yet");
        refuses("{{ query \"up\" | first | value }}", "parse:1: function query is not supported yet");
        refuses("{{ with $labels }}{{ end }}", "parse:1: {{with}} is not supported yet");
        refuses("{{ 'a' }}", "parse:1: character constant is not supported yet");
    }
}
