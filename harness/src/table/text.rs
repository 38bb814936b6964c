//! Lines of a bounded width.

/// Control characters, which a terminal might obey, become spaces.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Breaks text at spaces into lines of at most `width` characters; a longer word is cut.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        for piece in pieces(word, width) {
            let need = line.chars().count() + usize::from(!line.is_empty()) + piece.chars().count();
            if need > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&piece);
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// Joins parts by a separator, breaking lines only between parts where that is possible.
pub(super) fn join_wrapped(parts: &[String], separator: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let joined = lines.last().map(|line| format!("{line}{separator}{part}"));
        match joined {
            Some(joined) if joined.chars().count() <= width => {
                lines.pop();
                lines.push(joined);
            }
            _ => lines.extend(wrap(part, width)),
        }
    }
    lines
}

/// Breaks a shell command between its words, so that it can still be pasted: each line but the last ends in a backslash.
pub(super) fn command_lines(command: &str, width: usize, indent: usize) -> Vec<String> {
    let room = width - indent - 2;
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in command.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(format!("{:indent$}{line} \\", ""));
            line = String::from("  ");
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(format!("{:indent$}{line}", ""));
    lines
}

fn pieces(word: &str, width: usize) -> Vec<String> {
    let characters: Vec<char> = word.chars().collect();
    characters.chunks(width.max(1)).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_inside_words_only_when_they_must() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn parts_stay_whole() {
        let parts = ["ab cd".to_owned(), "ef".to_owned(), "ghi jkl".to_owned()];
        assert_eq!(join_wrapped(&parts, " · ", 10), ["ab cd · ef", "ghi jkl"]);
    }

    #[test]
    fn a_broken_command_is_still_one_command() {
        let lines = command_lines("highwater run double11 --peak 120k --seed 1", 30, 2);
        assert_eq!(lines, ["  highwater run double11 \\", "    --peak 120k --seed 1"]);
    }

    #[test]
    fn no_control_code_survives() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a [31mb c");
    }
}
