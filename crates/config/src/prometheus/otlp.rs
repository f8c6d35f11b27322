//! The section `otlp`: how metrics of OpenTelemetry become series.

use relatum_model::relabel::NameScheme;
use relatum_model::text::quote;

use crate::yaml::Cursor;

/// The section `otlp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Whether all attributes of a resource become labels.
    pub promote_all_resource_attributes: bool,
    /// Else those that do.
    pub promote_resource_attributes: Vec<String>,
    /// If all do, those that do not.
    pub ignore_resource_attributes: Vec<String>,
    /// How names are translated.
    pub translation_strategy: TranslationStrategy,
    /// Whether the attributes that make `job` and `instance` stay in `target_info`.
    pub keep_identifying_resource_attributes: bool,
    /// Whether histograms with explicit bounds become native ones.
    pub convert_histograms_to_nhcb: bool,
    /// Whether name, version and attributes of the scope become labels.
    pub promote_scope_metadata: bool,
    /// Whether a label that begins with `_` gets `key` in front.
    pub label_name_underscore_sanitization: bool,
    /// Whether several underscores stay several.
    pub label_name_preserve_multiple_underscores: bool,
}

/// How names of OpenTelemetry are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TranslationStrategy {
    /// Other characters become `_`; unit and type are put behind.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Other characters become `_`.
    UnderscoreEscapingWithoutSuffixes,
    /// Unit and type are put behind.
    NoUtf8EscapingWithSuffixes,
    /// They stay as they are.
    NoTranslation,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        OtlpConfig {
            promote_all_resource_attributes: false,
            promote_resource_attributes: Vec::new(),
            ignore_resource_attributes: Vec::new(),
            translation_strategy: TranslationStrategy::default(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

impl OtlpConfig {
    pub(super) fn read(cursor: Cursor<'_>, names: NameScheme) -> Self {
        let defaults = OtlpConfig::default();
        let Some(mut section) = cursor.section() else { return defaults };
        let (promoted, ignored) =
            (section.take("promote_resource_attributes"), section.take("ignore_resource_attributes"));
        let mut bool = |key, default| section.take(key).map_or(Some(default), Cursor::bool).unwrap_or(default);
        let config = OtlpConfig {
            promote_all_resource_attributes: bool("promote_all_resource_attributes", false),
            keep_identifying_resource_attributes: bool("keep_identifying_resource_attributes", false),
            convert_histograms_to_nhcb: bool("convert_histograms_to_nhcb", false),
            promote_scope_metadata: bool("promote_scope_metadata", false),
            label_name_underscore_sanitization: bool("label_name_underscore_sanitization", true),
            label_name_preserve_multiple_underscores: bool("label_name_preserve_multiple_underscores", true),
            translation_strategy: section
                .take("translation_strategy")
                .and_then(|strategy| TranslationStrategy::read(strategy, names))
                .unwrap_or_default(),
            promote_resource_attributes: promoted
                .map(|list| attributes(list, "promote", "promoted"))
                .unwrap_or_default(),
            ignore_resource_attributes: ignored.map(|list| attributes(list, "ignore", "ignored")).unwrap_or_default(),
        };
        section.finish();
        if let Some(promoted) = promoted.filter(|_| config.promote_all_resource_attributes)
            && !config.promote_resource_attributes.is_empty()
        {
            promoted.invalid(
                "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously",
            );
        }
        if let Some(ignored) = ignored.filter(|_| !config.promote_all_resource_attributes)
            && !config.ignore_resource_attributes.is_empty()
        {
            ignored.invalid(
                "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true",
            );
        }
        config
    }
}

/// Names without white space around them; none twice.
fn attributes(cursor: Cursor<'_>, verb: &str, adjective: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for item in cursor.items() {
        let Some(text) = item.string() else { continue };
        let name = text.trim();
        let whose = format!("invalid '{verb}_resource_attributes'");
        if name.is_empty() {
            item.invalid(format!("{whose}: empty {adjective} OTel resource attribute"));
        } else if names.iter().any(|known| known == name) {
            item.invalid(format!("{whose}: duplicated {adjective} OTel resource attribute {}", quote(name)));
        } else {
            names.push(name.to_owned());
        }
    }
    names
}

impl TranslationStrategy {
    fn read(cursor: Cursor<'_>, names: NameScheme) -> Option<Self> {
        let text = cursor.non_empty()?;
        let strategy = match text.as_str() {
            "UnderscoreEscapingWithSuffixes" => TranslationStrategy::UnderscoreEscapingWithSuffixes,
            "UnderscoreEscapingWithoutSuffixes" => TranslationStrategy::UnderscoreEscapingWithoutSuffixes,
            "NoUTF8EscapingWithSuffixes" => TranslationStrategy::NoUtf8EscapingWithSuffixes,
            "NoTranslation" => TranslationStrategy::NoTranslation,
            other => {
                cursor.invalid(format!("unsupported OTLP translation strategy {}", quote(other)));
                return None;
            }
        };
        let keeps_utf8 =
            matches!(strategy, TranslationStrategy::NoUtf8EscapingWithSuffixes | TranslationStrategy::NoTranslation);
        if keeps_utf8 && names == NameScheme::Legacy {
            let text = quote(&text);
            cursor.invalid(format!("OTLP translation strategy {text} is not allowed when UTF8 is disabled"));
        }
        Some(strategy)
    }
}
