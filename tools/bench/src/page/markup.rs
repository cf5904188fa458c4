//! HTML: escapes foreign text, and builds tables.

/// Escapes text for use between elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

/// Returns an element that contains HTML.
pub(super) fn element(name: &str, content: &str) -> String {
    format!("<{name}>{content}</{name}>\n")
}

/// Returns sentences as a list, or nothing if there are none.
pub(super) fn list(sentences: &[String]) -> String {
    if sentences.is_empty() {
        return String::new();
    }
    let items = sentences.iter().map(|sentence| element("li", &escape(sentence)));
    element("ul", &format!("\n{}", items.collect::<String>()))
}

/// The content of a table cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    /// The value by which a column is sorted.
    value: Option<f64>,
    class: &'static str,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), value: None, class: "text" }
    }

    /// Returns a cell without a number.
    pub(super) fn none() -> Self {
        Self { text: "-".to_owned(), value: None, class: "" }
    }

    /// Returns a cell with a number in the given format.
    pub(super) fn number(value: f64, text: String) -> Self {
        Self { text, value: Some(value), class: "" }
    }

    pub(super) fn of_class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }

    fn html(&self) -> String {
        let class = if self.class.is_empty() { String::new() } else { format!(" class=\"{}\"", self.class) };
        let value = self.value.map(|value| format!(" data-value=\"{value}\"")).unwrap_or_default();
        format!("<td{class}{value}>{}</td>", escape(&self.text))
    }
}

/// Returns a table with headings, which the script makes sortable.
pub(super) fn table(caption: &str, headings: &[&str], rows: &[Vec<Cell>]) -> String {
    let heading = |(column, heading): (usize, &&str)| {
        let is_text = rows.first().and_then(|row| row.get(column)).is_some_and(|cell| cell.class.starts_with("text"));
        let class = if is_text { " class=\"text\"" } else { "" };
        format!("<th scope=\"col\"{class}>{}</th>", escape(heading))
    };
    let headings: String = headings.iter().enumerate().map(heading).collect();
    let row = |row: &Vec<Cell>| format!("<tr>{}</tr>\n", row.iter().map(Cell::html).collect::<String>());
    let rows: String = rows.iter().map(row).collect();
    let caption = if caption.is_empty() { String::new() } else { element("caption", &escape(caption)) };
    format!(
        "<div class=\"wide\"><table class=\"sorts\">\n{caption}<thead><tr>{headings}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// Returns names with their values; empty values are left out.
pub(super) fn pairs(rows: &[(&str, String)]) -> String {
    let row = |(name, value): &(&str, String)| {
        format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(value))
    };
    let rows: String = rows.iter().filter(|(_, value)| !value.is_empty()).map(row).collect();
    format!("<div class=\"wide\"><table class=\"words\">\n<tbody>\n{rows}</tbody>\n</table></div>\n")
}
