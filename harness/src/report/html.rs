//! Text into HTML. Everything that comes from a summary passes through [`escape`].

use std::fmt::Display;

/// Text as it may stand in an element or a quoted attribute, of HTML and of SVG. Control characters other than the
/// newline are dropped: neither may hold them.
pub(super) fn escape(text: impl Display) -> String {
    let mut escaped = String::new();
    for c in text.to_string().chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && c != '\n' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// A sentence: escaped, and what stands between backticks set as code.
pub(super) fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return escape(text);
    }
    let set = |(n, part): (usize, &&str)| match n % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    };
    parts.iter().enumerate().map(set).collect()
}

/// A JSON value as it may stand inside a script element: no `<` that could end it.
pub(super) fn script_json(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// A table with a head and rows of cells that are HTML already; all but the first column hold numbers.
pub(super) fn table(class: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let mut html = format!("<div class=\"wide\"><table class=\"{class}\"><thead><tr>");
    for cell in head {
        html.push_str(&format!("<th scope=\"col\">{cell}</th>"));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (n, cell) in row.iter().enumerate() {
            html.push_str(&match n {
                0 => format!("<th scope=\"row\">{cell}</th>"),
                _ => format!("<td>{cell}</td>"),
            });
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// A section with an anchor.
pub(super) fn section(id: &str, title: &str, lead: &str, body: &str) -> String {
    format!("<section id=\"{id}\"><h2>{title}</h2>\n<p class=\"lead\">{lead}</p>\n{body}</section>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_its_element() {
        assert_eq!(escape("<a href='x'>&\"\u{7}"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
        assert_eq!(prose("say `a<b` or"), "say <code>a&lt;b</code> or");
        assert_eq!(prose("odd ` one"), "odd ` one");
        assert_eq!(script_json(&serde_json::json!("</script>")), "\"\\u003c/script>\"");
    }
}
