//! Handlebars templates: text around values.
//!
//! Each rendered file has a folder in `templates/` with its template, a context to try it with, and the golden result. The
//! folder in the operator's config directory overrides ours. Strict mode makes a misspelt name an error instead of an empty
//! text, and nothing is escaped for HTML; nested content enters through the one helper `{{yaml value indent}}`, which a label's
//! value cannot break out of.

use std::collections::BTreeMap;

use handlebars::{
    Context, Handlebars, Helper, HelperResult, Output, RenderContext, RenderError, RenderErrorReason, TemplateError,
    no_escape,
};
use relatum_model::yaml;
use serde_json::Value;

use crate::control::Problem;

/// A rendered file's kind: the folder of its template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Template {
    /// `prometheus.yml`.
    Main,
    /// `prometheus.args`.
    Arguments,
    /// One `scrape/…yml`.
    Scrape,
    /// One `rules/…rules`.
    Rules,
    /// `web.yml`.
    Web,
    /// `grafana-datasource.yml`.
    Datasource,
}

impl Template {
    /// All of them.
    pub const ALL: [Template; 6] =
        [Template::Main, Template::Arguments, Template::Scrape, Template::Rules, Template::Web, Template::Datasource];

    /// The name of its folder.
    pub fn folder(self) -> &'static str {
        match self {
            Template::Main => "prometheus.yml",
            Template::Arguments => "prometheus.args",
            Template::Scrape => "scrape.yml",
            Template::Rules => "rules.rules",
            Template::Web => "web.yml",
            Template::Datasource => "grafana-datasource.yml",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Template::Main => include_str!("../../templates/prometheus.yml/template.hbs"),
            Template::Arguments => include_str!("../../templates/prometheus.args/template.hbs"),
            Template::Scrape => include_str!("../../templates/scrape.yml/template.hbs"),
            Template::Rules => include_str!("../../templates/rules.rules/template.hbs"),
            Template::Web => include_str!("../../templates/web.yml/template.hbs"),
            Template::Datasource => include_str!("../../templates/grafana-datasource.yml/template.hbs"),
        }
    }
}

/// An operator's template: where it was read, and its text or why it could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The path, for messages.
    pub path: String,
    /// The text or the reason.
    pub text: Result<String, String>,
}

/// All templates, overrides included, ready to render.
pub struct Templates {
    registry: Handlebars<'static>,
    // What to call a template in a message: the path of its override.
    paths: BTreeMap<Template, String>,
    broken: BTreeMap<Template, Problem>,
}

impl Templates {
    /// Parses everything. An override that does not parse makes every render of that template fail with its problem.
    pub fn new(overrides: &BTreeMap<Template, Override>) -> Self {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        registry.register_escape_fn(no_escape);
        registry.register_helper("yaml", Box::new(yaml_helper));
        let mut templates = Templates { registry, paths: BTreeMap::new(), broken: BTreeMap::new() };
        for template in Template::ALL {
            let own = templates.registry.register_template_string(template.folder(), template.text());
            own.expect("our own templates parse: a test renders each of them");
            let Some(replacement) = overrides.get(&template) else { continue };
            templates.paths.insert(template, replacement.path.clone());
            let refused = match &replacement.text {
                Err(reason) => Some(problem(&replacement.path, None, reason.clone())),
                Ok(text) => {
                    let parsed = templates.registry.register_template_string(template.folder(), text);
                    parsed.err().map(|error| problem(&replacement.path, error.pos(), template_reason(&error)))
                }
            };
            templates.broken.extend(refused.map(|problem| (template, problem)));
        }
        templates
    }

    /// The path of the text that `template` is made of, and the line in it that brings what the context has under `field`.
    pub fn place_of(&self, template: Template, field: &str) -> (String, Option<usize>) {
        let line = self.registry.get_template(template.folder()).and_then(|parsed| line_of(parsed, field));
        (self.path(template), line)
    }

    fn path(&self, template: Template) -> String {
        let own = || format!("templates/{}/template.hbs", template.folder());
        self.paths.get(&template).cloned().unwrap_or_else(own)
    }

    /// Fills `template` with `context`.
    pub fn render(&self, template: Template, context: Value) -> Result<String, Box<Problem>> {
        if let Some(problem) = self.broken.get(&template) {
            return Err(Box::new(problem.clone()));
        }
        self.registry.render_with_context(template.folder(), &Context::from(context)).map_err(|error| {
            let place = error.line_no.zip(error.column_no);
            Box::new(problem(&self.path(template), place, render_reason(&error)))
        })
    }
}

/// The line of the first expression or block that names `field`. One that only asks whether there is any does not bring it.
fn line_of(template: &handlebars::template::Template, field: &str) -> Option<usize> {
    use handlebars::template::{Parameter, TemplateElement};
    let inside = format!("{field}.");
    let is_field =
        |parameter: &Parameter| parameter.as_name().is_some_and(|name| name == field || name.starts_with(&inside));
    template.elements.iter().zip(&template.mapping).find_map(|(element, place)| match element {
        TemplateElement::Expression(helper) | TemplateElement::HtmlExpression(helper) => {
            (is_field(&helper.name) || helper.params.iter().any(is_field)).then_some(place.0)
        }
        TemplateElement::HelperBlock(helper) => {
            let inner = [&helper.template, &helper.inverse].into_iter().flatten();
            let mut found = inner.filter_map(|inner| line_of(inner, field));
            let is_loop = helper.params.iter().any(is_field) && matches!(helper.name.as_name(), Some("each" | "with"));
            found.next().or_else(|| is_loop.then_some(place.0))
        }
        _ => None,
    })
}

fn problem(path: &str, place: Option<(usize, usize)>, reason: String) -> Problem {
    let place = place.map_or_else(String::new, |(line, column)| format!(" line {line}, column {column}:"));
    Problem {
        key: Some(path.to_owned()),
        message: format!("template cannot be used:{place} {reason}"),
        hint: Some("the files rendered before stay as they are until it is repaired or removed".to_owned()),
        ..Problem::default()
    }
}

fn template_reason(error: &TemplateError) -> String {
    // The crate's text goes on with a drawing of the place, which the problem already names.
    error.reason().to_string().lines().next().unwrap_or_default().to_owned()
}

fn render_reason(error: &RenderError) -> String {
    if let RenderErrorReason::MissingVariable(Some(name)) = error.reason() {
        return format!("nothing provides {name}");
    }
    error.reason().to_string().lines().next().unwrap_or_default().to_owned()
}

/// `key:{{yaml value indent}}`: a scalar behind the colon, or a block below it with every line indented by `indent` blanks, which
/// for a map must be more than its key has.
fn yaml_helper(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    let value = helper.param(0).ok_or(RenderErrorReason::ParamNotFoundForIndex("yaml", 0))?;
    // The crate's own strict check covers plain names only; without this a misspelt argument would render as null.
    if value.is_value_missing() {
        let name = value.relative_path().cloned().unwrap_or_default();
        return Err(RenderErrorReason::MissingVariable(Some(name)).into());
    }
    let indent = helper.param(1).and_then(|indent| indent.value().as_u64()).filter(|indent| *indent <= 64);
    let indent = indent.ok_or(RenderErrorReason::ParamNotFoundForIndex("yaml", 1))?;
    let text = block(value.value(), indent as usize).map_err(RenderErrorReason::Other)?;
    out.write(&text)?;
    Ok(())
}

fn block(value: &Value, indent: usize) -> Result<String, String> {
    let text = yaml::to_string(value).map_err(|error| error.to_string())?;
    // Exactly one newline: more of them belong to a text that ends in newlines.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let below = match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    };
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for (number, line) in text.split('\n').enumerate() {
        match (number, below) {
            (0, false) => out.push(' '),
            _ => {
                out.push('\n');
                if !line.is_empty() {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
            }
        }
        out.push_str(line);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    /// Renders the context of every template and compares with the golden file beside it. `RELATUM_BLESS=1` writes it anew.
    #[test]
    fn templates_render_as_their_golden_files() {
        let templates = Templates::new(&BTreeMap::new());
        for template in Template::ALL {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../templates").join(template.folder());
            let context = fs::read_to_string(folder.join("context.json")).unwrap();
            let text = templates.render(template, serde_json::from_str(&context).unwrap()).unwrap();
            let golden = folder.join("golden");
            if std::env::var_os("RELATUM_BLESS").is_some() {
                fs::write(&golden, &text).unwrap();
            }
            assert_eq!(text, fs::read_to_string(&golden).unwrap(), "{}", template.folder());
        }
    }

    #[track_caller]
    fn check_survives(value: Value) {
        let text = format!("above:\n  key:{}\nbelow: 1\n", block(&value, 4).unwrap());
        let read: Value = yaml::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"));
        assert_eq!(read, json!({"above": {"key": value}, "below": 1}), "{text}");
        // A map needs more than its key's own indent; a list does not.
        let indent = usize::from(value.is_object());
        let text = format!("key:{}\nbelow: 1\n", block(&value, indent).unwrap());
        let read: Value = yaml::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"));
        assert_eq!(read, json!({"key": value, "below": 1}), "{text}");
    }

    #[test]
    fn values_survive_yaml() {
        let texts = [
            "",
            "yes",
            "No",
            "on",
            "~",
            "null",
            "1:30",
            "0777",
            "1_000",
            "0x1F",
            "1e3",
            ".inf",
            "-",
            "- a",
            "a: b",
            "a #b",
            "#a",
            "{{",
            "{{ $labels.x }}",
            "{a: b}",
            "[a]",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "|",
            ">",
            "'",
            "\"",
            "it's \"so\"",
            "a\nb",
            "a\nb\n",
            "a\n\n",
            "\n",
            "\n\na",
            "  indented\nless",
            " \n x",
            "\ttab",
            "tab\tinside",
            "trailing ",
            "a\r\nb",
            "\u{85}",
            "\u{2028}x",
            "\u{feff}",
            "\u{7f}",
            "\u{0}",
            "ü",
            "---",
            "...",
            "=",
            "<<",
            "2001-01-01",
            "\\",
            "a\\nb",
        ];
        for text in texts {
            check_survives(json!([text]));
            check_survives(json!({"k": text, text: "v"}));
            check_survives(json!([[text, {"deep": [text]}]]));
            // A scalar as the template's own value.
            if !text.is_empty() {
                check_survives(json!(text));
            }
        }
        for value in [json!([]), json!({}), json!({"a": [], "b": {}}), json!(1), json!(true), json!(1.5)] {
            check_survives(value);
        }
    }

    #[test]
    fn overrides_replace_and_their_faults_are_named() {
        let with = |text: Result<&str, &str>| {
            let text = text.map(str::to_owned).map_err(str::to_owned);
            let replacement = Override { path: "/c/templates/scrape.yml/template.hbs".into(), text };
            Templates::new(&BTreeMap::from([(Template::Scrape, replacement)]))
                .render(Template::Scrape, json!({"scrape_configs": [1], "relation": {"id": 7}}))
        };
        assert_eq!(
            with(Ok("# {{relation.id}}\nscrape_configs:{{yaml scrape_configs 0}}")).unwrap(),
            "# 7\nscrape_configs:\n- 1"
        );
        // A name nobody knows, in both places where one can stand; a template that does not parse; one that is unreadable.
        for (text, part) in [
            (Ok("a\n{{relation.idd}}"), "line 2"),
            (Ok("a\n\n  {{yaml scrape_config 0}}"), "line 3"),
            (Ok("a\n{{#if x}}"), "line 2"),
            (Err("permission denied"), "permission denied"),
        ] {
            let problem = with(text).unwrap_err();
            assert_eq!(problem.key.as_deref(), Some("/c/templates/scrape.yml/template.hbs"));
            assert!(problem.message.contains(part), "{problem}");
        }
    }
}
