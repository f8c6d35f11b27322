//! Named classes of characters as Go knows them, written in the syntax of the `regex` crate.

/// What the inside of a bracket expression says, besides single ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    /// The positive class, as it stands between brackets.
    pub(super) inside: &'static str,
    /// Whether the class is all other characters.
    pub(super) is_negated: bool,
}

impl Named {
    /// The class as an item between brackets. If case does not count, the letters that fold to ASCII ones belong to it: a
    /// negated class must name them itself, a positive one gets them from the folding of the whole bracket expression.
    pub(super) fn item(self, ignores_case: bool) -> String {
        match (self.is_negated, ignores_case) {
            (false, _) => self.inside.to_owned(),
            (true, false) => format!("[^{}]", self.inside),
            (true, true) => format!("[^{}{}]", self.inside, folded_extra(self.inside)),
        }
    }
}

/// The long s and the Kelvin sign fold to `s` and `k`.
fn folded_extra(inside: &str) -> &'static str {
    if inside.contains("A-Z") || inside.contains("a-z") || matches!(inside, ASCII | GRAPH | PRINT) {
        r"\x{17F}\x{212A}"
    } else {
        ""
    }
}

const ASCII: &str = r"\x00-\x7F";
const GRAPH: &str = r"\x21-\x7E";
const PRINT: &str = r"\x20-\x7E";
const WORD: &str = "0-9A-Z_a-z";
const DIGIT: &str = "0-9";

/// The class of `\d`, `\S` and their like; `letter` is what follows the backslash.
pub(super) fn perl(letter: char) -> Option<Named> {
    let inside = match letter.to_ascii_lowercase() {
        'd' => DIGIT,
        // Without the vertical tab, other than `[:space:]`.
        's' => r"\t\n\f\r\x20",
        'w' => WORD,
        _ => return None,
    };
    Some(Named { inside, is_negated: letter.is_ascii_uppercase() })
}

/// The class of `[:alpha:]` or `[:^alpha:]`; `name` is what stands between the colons.
pub(super) fn posix(name: &str) -> Option<Named> {
    let positive = name.strip_prefix('^');
    let inside = match positive.unwrap_or(name) {
        "alnum" => "0-9A-Za-z",
        "alpha" => "A-Za-z",
        "ascii" => ASCII,
        "blank" => r"\t\x20",
        "cntrl" => r"\x00-\x1F\x7F",
        "digit" => DIGIT,
        "graph" => GRAPH,
        "lower" => "a-z",
        "print" => PRINT,
        "punct" => r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E",
        "space" => r"\x09-\x0D\x20",
        "upper" => "A-Z",
        "word" => WORD,
        "xdigit" => "0-9A-Fa-f",
        _ => return None,
    };
    Some(Named { inside, is_negated: positive.is_some() })
}

/// The class of `\p{name}`, or of `\P{name}` if `is_negated`.
pub(super) fn unicode(name: &str, is_negated: bool) -> Option<String> {
    let (name, is_negated) = match name.strip_prefix('^') {
        Some(rest) => (rest, !is_negated),
        None => (name, is_negated),
    };
    let name = canonical(name);
    let p = if is_negated { 'P' } else { 'p' };
    match name.as_str() {
        "Any" if is_negated => Some(r"[^\x00-\x{10FFFF}]".to_owned()),
        "Any" => Some(r"[\x00-\x{10FFFF}]".to_owned()),
        "Ascii" if is_negated => Some(format!("[^{ASCII}]")),
        "Ascii" => Some(format!("[{ASCII}]")),
        "Assigned" => Some(format!(r"\{p}{{Assigned}}")),
        // No text can contain a surrogate.
        "Cs" | "Surrogate" => unicode("Any", !is_negated),
        name if listed(CATEGORIES, name) => Some(format!(r"\{p}{{gc={name}}}")),
        name if listed(SCRIPTS, name) => Some(format!(r"\{p}{{sc={name}}}")),
        _ => None,
    }
}

/// Go reads names without regard to case, spaces, hyphens and underscores.
fn canonical(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')) {
        out.push(if out.is_empty() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
    }
    out
}

fn listed(names: &str, name: &str) -> bool {
    names.split_ascii_whitespace().any(|listed| listed == name)
}

// Go knows fewer names than the `regex` crate, and a pattern must not work here and fail in Prometheus.

const CATEGORIES: &str = "C Cc Cf Cn Co L Lc Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl \
    Zp Zs Casedletter Closepunctuation Cntrl Combiningmark Connectorpunctuation Control Currencysymbol Dashpunctuation \
    Decimalnumber Digit Enclosingmark Finalpunctuation Format Initialpunctuation Letter Letternumber Lineseparator \
    Lowercaseletter Mark Mathsymbol Modifierletter Modifiersymbol Nonspacingmark Number Openpunctuation Other Otherletter \
    Othernumber Otherpunctuation Othersymbol Paragraphseparator Privateuse Punct Punctuation Separator Spaceseparator \
    Spacingmark Symbol Titlecaseletter Unassigned Uppercaseletter";

const SCRIPTS: &str = "Adlam Ahom Anatolianhieroglyphs Arabic Armenian Avestan Balinese Bamum Bassavah Batak Bengali Bhaiksuki Bopomofo \
    Brahmi Braille Buginese Buhid Canadianaboriginal Carian Caucasianalbanian Chakma Cham Cherokee Chorasmian Common \
    Coptic Cuneiform Cypriot Cyprominoan Cyrillic Deseret Devanagari Divesakuru Dogra Duployan Egyptianhieroglyphs \
    Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjalagondi Gurmukhi Han Hangul \
    Hanifirohingya Hanunoo Hatran Hebrew Hiragana Imperialaramaic Inherited Inscriptionalpahlavi \
    Inscriptionalparthian Javanese Kaithi Kannada Katakana Kawi Kayahli Kharoshthi Khitansmallscript Khmer Khojki \
    Khudawadi Lao Latin Lepcha Limbu Lineara Linearb Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic \
    Manichaean Marchen Masaramgondi Medefaidrin Meeteimayek Mendekikakui Meroiticcursive Meroitichieroglyphs Miao \
    Modi Mongolian Mro Multani Myanmar Nabataean Nagmundari Nandinagari Newa Newtailue Nko Nushu \
    Nyiakengpuachuehmong Ogham Olchiki Oldhungarian Olditalic Oldnortharabian Oldpermic Oldpersian Oldsogdian \
    Oldsoutharabian Oldturkic Olduyghur Oriya Osage Osmanya Pahawhhmong Palmyrene Paucinhau Phagspa Phoenician \
    Psalterpahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham Signwriting Sinhala Sogdian Sorasompeng \
    Soyombo Sundanese Sylotinagri Syriac Tagalog Tagbanwa Taile Taitham Taiviet Takri Tamil Tangsa Tangut Telugu \
    Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warangciti Yezidi Yi Zanabazarsquare";
