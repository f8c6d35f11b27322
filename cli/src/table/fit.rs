//! Cells that are wider than their column: cut, or broken into lines. Colours go on over a break.

/// A character, or a colour code, which takes no room.
enum Piece<'a> {
    Letter(char),
    Code(&'a str),
}

/// Behind these a word may be broken.
const BREAK_BEHIND: [char; 2] = [',', '/'];

const RESET: &str = "\x1b[0m";

/// The first letters of `cell` with an ellipsis in the last of `width` columns.
///
/// A URL loses its scheme first.
pub(super) fn cut(cell: &str, width: usize) -> String {
    let cell = cell.strip_prefix("http://").or(cell.strip_prefix("https://")).unwrap_or(cell);
    if super::visible(cell) <= width {
        return cell.to_owned();
    }
    let mut out = String::new();
    let mut left = width.saturating_sub(1);
    for piece in pieces(cell) {
        match piece {
            // Codes after the end stay, as one of them ends the colour.
            Piece::Code(code) => out.push_str(code),
            Piece::Letter(letter) if left > 0 => {
                left -= 1;
                out.push(letter);
                if left == 0 {
                    out.push('…');
                }
            }
            Piece::Letter(_) => {}
        }
    }
    out
}

/// `cell` in lines of at most `width` columns, broken between words or behind a comma or slash where there is one.
pub(super) fn wrapped(cell: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    // What was written since the last gap, which moves down as a whole if it does not fit.
    let (mut word, mut letters) = (String::new(), 0);
    let mut colour = "";
    let mut colour_at_line = "";
    let end = |line: &mut String, lines: &mut Vec<String>, colour: &str| {
        let ended = if colour.is_empty() { "" } else { RESET };
        lines.push(line.trim_end().to_owned() + ended);
        *line = colour.to_owned();
    };
    for piece in pieces(cell) {
        match piece {
            Piece::Code(code) => {
                if letters == 0 {
                    line.push_str(code);
                    colour_at_line = if code == RESET { "" } else { code };
                } else {
                    word.push_str(code);
                }
                colour = if code == RESET { "" } else { code };
            }
            Piece::Letter(' ') => {
                line.push_str(&word);
                used += letters;
                (word, letters) = (String::new(), 0);
                colour_at_line = colour;
                if used < width {
                    line.push(' ');
                    used += 1;
                }
            }
            Piece::Letter(letter) => {
                if used + letters == width {
                    if used == 0 {
                        // A word longer than a line.
                        line.push_str(&word);
                        (word, letters) = (String::new(), 0);
                        colour_at_line = colour;
                    }
                    end(&mut line, &mut lines, colour_at_line);
                    used = 0;
                }
                word.push(letter);
                letters += 1;
                if BREAK_BEHIND.contains(&letter) {
                    line.push_str(&word);
                    used += letters;
                    (word, letters) = (String::new(), 0);
                    colour_at_line = colour;
                }
            }
        }
    }
    line.push_str(&word);
    lines.push(line);
    lines
}

fn pieces(cell: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = cell;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        if first == '\x1b'
            && let Some(end) = rest.find('m')
        {
            let code = &rest[..=end];
            rest = &rest[end + 1..];
            return Some(Piece::Code(code));
        }
        rest = &rest[first.len_utf8()..];
        Some(Piece::Letter(first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("https://a:1/bc", 6), "a:1/bc");
        assert_eq!(cut("https://a:1/bcd", 6), "a:1/b…");
        assert_eq!(cut("\x1b[31mabcdef\x1b[0m", 4), "\x1b[31mabc…\x1b[0m");
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 6), ["one", "two", "three"]);
        assert_eq!(wrapped("up{a=\"b\",c=\"d\"} 1", 10), ["up{a=\"b\",", "c=\"d\"} 1"]);
        assert_eq!(wrapped("a/b/c/defg", 8), ["a/b/c/", "defg"]);
        assert_eq!(wrapped("abc/", 4), ["abc/"]);
        assert_eq!(wrapped("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrapped("\x1b[31mone two\x1b[0m", 4), ["\x1b[31mone\x1b[0m", "\x1b[31mtwo\x1b[0m"]);
    }
}
