//! Which of the two text formats a scraper wants.

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The classic one of Prometheus.
    Prometheus,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// The one that the lines of `Accept` like best; the classic one where they do not care.
    pub(super) fn wanted<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let (mut open, mut classic) = (0, 0);
        for range in lines.flat_map(|line| line.split(',')) {
            let (name, liked, version) = parse(range);
            match name.as_str() {
                "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => open = open.max(liked),
                "text/plain" if version.is_none_or(|version| version == "0.0.4") => classic = classic.max(liked),
                "text/*" | "*/*" => classic = classic.max(liked),
                _ => {}
            }
        }
        if open > classic { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A media range: its name, how much it is liked in thousandths (RFC 9110 12.4.2), and the version it names.
fn parse(range: &str) -> (String, u32, Option<&str>) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let (mut liked, mut version) = (1000, None);
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key.trim().to_ascii_lowercase().as_str() {
            "q" => liked = thousandths(value.trim()),
            "version" => version = Some(value.trim().trim_matches('"')),
            _ => {}
        }
    }
    (name, liked, version)
}

/// `0.25` as 250; what is no such number is no wish.
fn thousandths(weight: &str) -> u32 {
    let share: f64 = weight.parse().unwrap_or(0.0);
    (share.clamp(0.0, 1.0) * 1000.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_format_that_it_likes_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, wanted) in [
            (prometheus, Format::OpenMetrics),
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/html, application/openmetrics-text; q=0.1", Format::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\", */*;q=0.1", Format::OpenMetrics),
            ("application/openmetrics-text; version=2.0.0", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;q=0.2, text/plain;version=0.0.4;q=0.5", Format::Prometheus),
        ] {
            assert_eq!(Format::wanted([accept].into_iter()), wanted, "{accept}");
        }
    }
}
