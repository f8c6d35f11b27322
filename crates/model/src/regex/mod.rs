//! Regular expressions as Prometheus reads them: RE2 syntax, always matched against the whole text.
//!
//! The `regex` crate matches; `translate` makes its syntax say what Go's means, and `plan` finds expressions that need no
//! automaton at all, which are most of those that people write.

mod budget;
mod class;
mod plan;
mod search;
mod shared;
mod translate;

use std::sync::Arc;

use ::regex::{Regex, RegexBuilder};
use thiserror::Error;

pub use budget::{CompileBudget, QUERY_COMPILED_BYTES_MAX};
use plan::Plan;
pub use search::SearchRegex;
use translate::{Translated, error, too_deep, translate};

/// The longest pattern, in bytes. Selectors with thousands of host names exist; megabytes of pattern do not.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// How many characters of a pattern may stand for more than one. Each takes kilobytes while it is compiled, before anything tells
/// how large all of it becomes.
const CLASSES_MAX: usize = 10_000;

/// What one compiled expression may take, in bytes.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// The bounds that an expression is compiled within, one after the other until it fits: so it is known about how much it takes.
/// What was compiled in vain is little beside what comes of it.
const SIZES_BYTES: [usize; 4] = [16 << 10, 256 << 10, 2 << 20, COMPILED_BYTES_MAX];

/// A pattern does not compile to less than so many bytes for each of its own, or so seldom that trying costs more.
const BYTES_PER_PATTERN_BYTE: usize = 4;

/// Nearly all expressions compile to less than this.
const SMALL_BYTES_MAX: usize = 256 << 10;

/// How deep groups may be nested. Go allows a thousand; compiling here takes stack for each.
const NEST_MAX: u32 = 250;

/// Why a pattern is refused; the text is Go's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct RegexError {
    /// The message, in the words of Go's `regexp/syntax`.
    pub message: String,
}

/// A compiled expression that matches only whole texts; `.` also matches a newline.
///
/// Clones share the compiled parts, and so do all expressions that are written the same.
#[derive(Debug, Clone)]
pub struct AnchoredRegex(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    pattern: String,
    plan: Plan,
    /// The automaton; none if the plan decides alone and there are no groups to fill.
    automaton: Option<Regex>,
    group_names: Vec<String>,
    /// What the automaton takes at most, about; 0 without one.
    automaton_bytes: usize,
}

impl Compiled {
    fn new(pattern: &str) -> Result<Self, RegexError> {
        let Translated { pattern: translated, group_names } = translate(pattern)?;
        let hir =
            regex_syntax::ParserBuilder::new().nest_limit(NEST_MAX).build().parse(&translated).map_err(|fault| {
                match fault {
                    regex_syntax::Error::Parse(fault)
                        if matches!(fault.kind(), regex_syntax::ast::ErrorKind::NestLimitExceeded(_)) =>
                    {
                        too_deep(pattern)
                    }
                    // The translation writes nothing else that is wrong, but a pattern comes from outside.
                    fault => RegexError { message: fault.to_string() },
                }
            })?;
        let plan = plan::plan(&hir);
        let needs_automaton = matches!(plan, Plan::Automaton { .. }) || !group_names.is_empty();
        let (automaton, automaton_bytes) = if needs_automaton {
            let (automaton, bytes) = automaton(&translated).ok_or_else(|| error("expression too large", pattern))?;
            (Some(automaton), bytes)
        } else {
            (None, 0)
        };
        Ok(Compiled { pattern: pattern.to_owned(), plan, automaton, group_names, automaton_bytes })
    }

    /// Whether it takes little memory.
    fn is_small(&self) -> bool {
        self.automaton_bytes <= SMALL_BYTES_MAX
    }
}

/// The automaton of a pattern that was translated, and what it takes at most, about; `None` if that is too much.
fn automaton(translated: &str) -> Option<(Regex, usize)> {
    let mut builder = RegexBuilder::new(&format!(r"\A(?:{translated})\z"));
    builder.nest_limit(NEST_MAX + 1);
    let bytes_min = translated.len().saturating_mul(BYTES_PER_PATTERN_BYTE).min(COMPILED_BYTES_MAX);
    let sizes = SIZES_BYTES.into_iter().filter(|bytes| *bytes >= bytes_min);
    sizes.into_iter().find_map(|bytes| Some((builder.size_limit(bytes).build().ok()?, bytes)))
}

/// How many characters of `pattern` stand for more than one.
fn n_classes(pattern: &str) -> usize {
    let mut bytes = pattern.bytes();
    let mut found = 0;
    while let Some(byte) = bytes.next() {
        let is_class = match byte {
            b'.' | b'[' => true,
            b'\\' => bytes.next().is_some_and(|escaped| escaped.is_ascii_alphabetic()),
            _ => false,
        };
        found += usize::from(is_class);
    }
    found
}

impl AnchoredRegex {
    /// Compiles `pattern`, unless somebody has it compiled already.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        AnchoredRegex::new_within(pattern, &mut CompileBudget::new())
    }

    /// As [`AnchoredRegex::new`], for a query that has other expressions, too.
    pub fn new_within(pattern: &str, budget: &mut CompileBudget) -> Result<Self, RegexError> {
        budget.admit()?;
        if pattern.len() > PATTERN_BYTES_MAX || n_classes(pattern) > CLASSES_MAX {
            // Without the pattern, which nobody would read.
            return Err(RegexError { message: "error parsing regexp: expression too large".to_owned() });
        }
        let compiled = shared::compiled(pattern, || Compiled::new(pattern))?;
        budget.count(&compiled)?;
        Ok(AnchoredRegex(compiled))
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.plan.decide(text).unwrap_or_else(|| match &self.0.automaton {
            Some(automaton) => automaton.is_match(text),
            None => unreachable!("a plan that cannot decide comes with an automaton"),
        })
    }

    /// All texts that match, sorted and each once, if the expression is no more than a list of texts such as `a|b|c[12]`.
    ///
    /// An index looks these up instead of going over all values.
    pub fn literals(&self) -> Option<&[String]> {
        match &self.0.plan {
            Plan::Literals(literals) => Some(literals),
            _ => None,
        }
    }

    /// What every matching text begins with, if that is known and not empty.
    pub fn prefix(&self) -> Option<&str> {
        let prefix = match &self.0.plan {
            Plan::Literals(literals) if literals.len() == 1 => &literals[0],
            Plan::Affixes { prefix, .. } | Plan::Automaton { prefix } => prefix,
            Plan::Literals(_) | Plan::Contains(_) => return None,
        };
        Some(prefix.as_str()).filter(|prefix| !prefix.is_empty())
    }

    /// `template` filled with the groups of the match, or `None` if `text` does not match; see [`Captures::expand`].
    pub fn replace(&self, text: &str, template: &str) -> Option<String> {
        self.captures(text).map(|captures| captures.expand(template))
    }

    /// The groups of the match, or `None` if `text` does not match.
    pub fn captures<'a>(&'a self, text: &'a str) -> Option<Captures<'a>> {
        if self.0.plan.decide(text) == Some(false) {
            return None;
        }
        let groups = match &self.0.automaton {
            Some(automaton) => Groups::Found(automaton.captures(text)?),
            None => Groups::Whole(text),
        };
        Some(Captures { groups, names: &self.0.group_names })
    }
}

/// Two expressions are equal when they are written the same.
impl PartialEq for AnchoredRegex {
    fn eq(&self, other: &Self) -> bool {
        self.pattern() == other.pattern()
    }
}

impl Eq for AnchoredRegex {}

/// The groups of one match; see [`AnchoredRegex::captures`].
#[derive(Debug)]
pub struct Captures<'a> {
    groups: Groups<'a>,
    names: &'a [String],
}

#[derive(Debug)]
enum Groups<'a> {
    /// There is no group but the whole text.
    Whole(&'a str),
    Found(::regex::Captures<'a>),
}

impl Captures<'_> {
    /// Fills a template as Go's `Regexp.Expand` does.
    ///
    /// `$1` or `${1}` is a group by number, `$name` or `${name}` by name, `$$` a dollar sign. A name is taken as long as it
    /// can be, so `$1x` asks for a group called `1x`. A group that does not exist or took no part is empty, and a dollar sign
    /// that starts none of these stays.
    pub fn expand(&self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = group_name(rest) {
                out.push_str(self.group(name));
                rest = after;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
        out
    }

    fn group(&self, name: &str) -> &str {
        match group_number(name) {
            Some(number) => self.numbered(number).unwrap_or(""),
            // Go lets a name stand for several groups: the first that took part counts.
            None => {
                let mut numbers = (1..).zip(self.names).filter(|(_, n)| *n == name).map(|(number, _)| number);
                numbers.find_map(|number| self.numbered(number)).unwrap_or("")
            }
        }
    }

    fn numbered(&self, number: usize) -> Option<&str> {
        match &self.groups {
            Groups::Whole(text) => (number == 0).then_some(text),
            Groups::Found(captures) => captures.get(number).map(|group| group.as_str()),
        }
    }
}

/// Splits the name or number of a group off what follows a dollar sign.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let braced = text.strip_prefix('{');
    let body = braced.unwrap_or(text);
    let end = body.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(body.len());
    let (name, after) = body.split_at(end);
    if name.is_empty() {
        return None;
    }
    match braced {
        Some(_) => after.strip_prefix('}').map(|after| (name, after)),
        None => Some((name, after)),
    }
}

/// Go reads digits as a number up to a bound, and not with a leading zero; otherwise they are a name like any other.
fn group_number(name: &str) -> Option<usize> {
    if (name.len() > 1 && name.starts_with('0')) || name.len() > 9 || !name.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        let regex = AnchoredRegex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for (texts, expected) in [(matching, true), (other, false)] {
            for text in texts {
                assert_eq!(regex.is_match(text), expected, "pattern {pattern:?} text {text:?}");
                assert_eq!(regex.captures(text).is_some(), expected, "captures: pattern {pattern:?} text {text:?}");
            }
        }
    }

    #[test]
    fn means_what_go_means() {
        check("", &[""], &["a"]);
        check("a.b", &["a\nb", "aéb"], &["ab", "xa.b"]);
        check("(?-s:a.b)", &["aéb"], &["a\nb"]);
        check("a|bc|", &["a", "bc", ""], &["abc", "b"]);
        // ASCII where the `regex` crate takes Unicode.
        check(r"\d", &["3"], &["٣"]);
        check(r"[\w-]+", &["a_Z-9"], &["é"]);
        check(r"\s", &["\t"], &["\u{b}", "\u{a0}"]);
        check(r"[[:space:]]", &["\u{b}"], &["\u{a0}"]);
        check(r".*\bé", &["aé", "_é"], &["é", " é"]);
        check(r"é\Bé", &["éé"], &[]);
        // Characters that mean more to the `regex` crate.
        check("{", &["{"], &[""]);
        check("a{2", &["a{2"], &["aa"]);
        check("a{,2}", &["a{,2}"], &["aa"]);
        check("[a&&b]+", &["a&b"], &["c"]);
        check("[+--c]", &["+", ",", "c"], &["a", "."]);
        check("[a~~[b]", &["~", "["], &["]"]);
        check(r"\<a\>", &["<a>"], &["a"]);
        check(r"\Qa.(\E+", &["a.(("], &["ab("]);
        check(r"\07\x41\x{1F600}", &["\u{7}A\u{1F600}"], &[]);
        // Letters that fold to ASCII ones, also where a class is negated.
        check("(?i)ks", &["KS", "\u{212a}ſ"], &["k"]);
        check(r"(?i)\W", &["é"], &["\u{212a}", "ſ"]);
        check(r"\W", &["\u{212a}"], &["k"]);
        check(r"\pN\p{greek}\P{^Lu}", &["٣ωA"], &["aωA"]);
        check(r"\x{d800}", &[], &["\u{fffd}", ""]);
        check(r"[^\x{d800}]", &["a"], &[""]);
        // A flag holds to the end of its group, and a repetition looks past it.
        check("(a(?i)b|c)d", &["aBd", "Cd"], &["Abd", "abD"]);
        check("a(?i)*", &["aaa"], &["A"]);
        check("(?m)^a$\n^b$", &["a\nb"], &["a", "a\n"]);
        check("^a$|b$", &["a", "b"], &["ab"]);
        check("x*y{2}(?:ab){0,1}", &["yy", "xxyyab"], &["y", "yyabab"]);
    }

    #[test]
    fn errors_are_gos() {
        for (pattern, error) in [
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("x[z-a]", "invalid character class range: `z-a`"),
            ("[a--c]", "invalid character class range: `a--`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
            (r"\p{Grek}", r"invalid character class range: `\p{Grek}`"),
            (r"\q", r"invalid escape sequence: `\q`"),
            (r"a\C", r"invalid escape sequence: `\C`"),
            (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a|+?b", "missing argument to repetition operator: `+?`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{2}{3}?", "invalid nested repetition operator: `{2}{3}?`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("(a{100}){11}", "invalid repeat count: `{11}`"),
            ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"),
            ("(?P<a", "invalid named capture: `(?P<a`"),
        ] {
            let message = AnchoredRegex::new(pattern).map(|_| ()).unwrap_err().message;
            assert_eq!(message, format!("error parsing regexp: {error}"), "pattern {pattern:?}");
        }
        // Go would take this one; the automaton would need more memory than one matcher is worth.
        assert!(AnchoredRegex::new(r"\pL{1000}").unwrap_err().message.contains("expression too large"));
        assert!(AnchoredRegex::new(&"(".repeat(100_000)).is_err());
        let gigantic = AnchoredRegex::new(&"x.*y.*|".repeat(40_000)).unwrap_err().message;
        assert_eq!(gigantic, "error parsing regexp: expression too large");
        // Names of many hosts are no classes.
        assert!(AnchoredRegex::new(&r"host-7\.example\.org|".repeat(8_000)).is_ok());
        let deep = format!("{}a{}", "(?:b|".repeat(2000), ")".repeat(2000));
        assert!(AnchoredRegex::new(&deep).unwrap_err().message.contains("nests too deeply"));
        // Syntax that is wrong is told before the depth. Each level copied all that is inside once.
        let open = format!("{}a", "(".repeat(100_000));
        assert!(AnchoredRegex::new(&open).unwrap_err().message.contains("missing closing"));
        let start = std::time::Instant::now();
        let closed = format!("{}a{}", "(".repeat(500_000), ")".repeat(500_000));
        assert!(AnchoredRegex::new(&closed).unwrap_err().message.contains("nests too deeply"));
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
    }

    #[test]
    fn templates() {
        for (pattern, text, template, expected) in [
            ("(.*)-(.*)", "a-b", "$2/${1}x$$$", Some("b/ax$$")),
            ("(.*)", "a", "<$1x><$9><${01}>", Some("<><><>")),
            ("(.*)", "a", "${1|$-|${}", Some("${1|$-|${}")),
            ("(?P<n>a)|(?P<n>b)", "b", "${n}$0", Some("bb")),
            ("a|b", "b", "$0$1", Some("b")),
            ("a", "b", "x", None),
        ] {
            let replaced = AnchoredRegex::new(pattern).unwrap().replace(text, template);
            assert_eq!(replaced.as_deref(), expected, "pattern {pattern:?} template {template:?}");
        }
    }

    #[test]
    fn what_an_index_can_use() {
        for (pattern, literals, prefix) in [
            ("a", Some(vec!["a"]), Some("a")),
            ("^(?:b|a|b)$", Some(vec!["a", "b"]), None),
            ("foo[12]|(bar)?", Some(vec!["", "bar", "foo1", "foo2"]), None),
            ("foo.*", None, Some("foo")),
            ("foo(bar|baz.+)", None, Some("foo")),
            (".*foo", None, None),
            ("(?i)abc.*", None, None),
            ("[a-z]{3}", None, None),
        ] {
            let regex = AnchoredRegex::new(pattern).unwrap();
            let found = regex.literals().map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!((found, regex.prefix()), (literals, prefix), "pattern {pattern:?}");
        }
        let long = (0..5000).map(|n| format!("host-{n}:9100")).collect::<Vec<_>>().join("|");
        assert_eq!(AnchoredRegex::new(&long).unwrap().literals().map(<[String]>::len), Some(5000));
    }

    proptest! {
        #[test]
        fn patterns_never_panic(pattern in "[ab|()\\[\\]{}*+?^$.\\\\0-9,:pPiQEx<>\\-\u{e9}]{0,24}", text in "[ab.0-9\u{e9}]{0,6}") {
            if let Ok(regex) = AnchoredRegex::new(&pattern) {
                let is_match = regex.is_match(&text);
                prop_assert_eq!(regex.captures(&text).is_some(), is_match);
                prop_assert!(!is_match || text.starts_with(regex.prefix().unwrap_or("")));
                prop_assert!(regex.literals().is_none_or(|all| all.contains(&text) == is_match));
                regex.replace(&text, &pattern);
            }
        }

        #[test]
        fn every_text_matches_itself_escaped(text in "\\PC{0,12}") {
            let quoted = format!(r"\Q{}\E", text.replace(r"\E", ""));
            prop_assert!(AnchoredRegex::new(&quoted).unwrap().is_match(&text.replace(r"\E", "")));
        }
    }
}
