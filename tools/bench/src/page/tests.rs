//! Tests of the page, which is built from fixed data and read back.

use std::collections::BTreeSet;

use dht_report::fixture::{FAILURES, NOTHING, ONE_POINT, RAMP, SIX_ORDERS, SWEEP, Shape, report as made};
use dht_report::{Percentile, Test};

use super::super::show::thin;
use super::*;

/// Returns the text between elements, without that of script and style.
fn texts(page: &str) -> BTreeSet<String> {
    let body = page.split_once("<body>").unwrap().1.split_once("<div id=\"read-out\"").unwrap().0;
    let texts = body.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text.trim().to_owned());
    texts.collect()
}

#[test]
fn every_figure_of_the_tables_is_shown() {
    for shape in [SWEEP, FAILURES, RAMP] {
        let report = made(shape);
        let texts = texts(&page(&report).unwrap());
        let mut expected: Vec<String> = vec!["12.5 %".to_owned(), "37.9 %".to_owned(), "69 930".to_owned()];
        for point in report.points.iter().filter(|point| point.requests > 0) {
            let latency = &point.latency;
            let figures = [latency.avg_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us];
            expected.extend(
                figures.iter().chain([&point.rate.median]).filter(|value| **value >= 10.0).map(|value| thin(*value)),
            );
            expected.extend([point.errors, point.requests, point.unsent].map(|count| thin(count as f64)));
            if point.mb_s.median > 0.0 {
                expected.push(format!("{:.2}", point.mb_s.median));
            }
            let delivered =
                point.delivery.map(|delivery| [delivery.published, delivery.lost].map(|count| thin(count as f64)));
            expected.extend(delivered.into_iter().flatten());
        }
        expected.extend(report.notes.iter().map(|note| escape(note)));
        expected.extend(report.requirements.iter().map(|requirement| escape(&requirement.text)));
        expected.extend(["b6e2764+", "1.95.0", "uniform", "42", "missed", "met"].map(str::to_owned));
        for text in expected {
            assert!(texts.contains(&text), "{text:?} is not on the page of {shape:?}");
        }
    }
}

#[test]
fn errors_come_before_every_figure() {
    let page = page(&made(FAILURES)).unwrap();
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}"));
    let errors = place("9872 requests failed: read the figures with care.");
    assert!(errors < place("<svg") && errors < place("<table"));
    assert!(page.contains("publish, 800 topics: 1 234 TIMED_OUT"));
    assert!(!super::page(&made(SWEEP)).unwrap().contains("class=\"trouble\""));
}

/// Foreign text must not become markup, whoever wrote it.
#[test]
fn foreign_words_do_no_harm_and_nothing_is_asked_for() {
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&";
    let mut report = made(FAILURES);
    report.command.push(evil.to_owned());
    report.cluster.software = vec![evil.to_owned()];
    report.cluster.addresses = vec![evil.to_owned()];
    report.load.keys = evil.to_owned();
    report.environment.cpu = evil.to_owned();
    report.notes.push(evil.to_owned());
    report.requirements[0].text = evil.to_owned();
    report.points[3].error_kinds[0].kind = evil.to_owned();
    report.counters[0].after.insert(evil.to_owned(), 9);
    let page = page(&report).unwrap();
    assert_eq!(page.matches("<script").count(), 2, "the report and our own");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(
        !page.contains("<img") && !page.to_lowercase().contains("http:") && !page.to_lowercase().contains("https:")
    );
    let harmless = super::page(&made(SWEEP)).unwrap();
    for asks in [" src=", "url(", "@import", "fetch(", "XMLHttpRequest", "rel=\"stylesheet\""] {
        assert!(!harmless.contains(asks), "{asks}");
    }
    let json = page.split_once("id=\"report\">").unwrap().1.split_once("</script>").unwrap().0;
    assert_eq!(serde_json::from_str::<Report>(json).unwrap().notes, report.notes);
}

#[test]
fn elements_are_closed_in_their_order_and_ids_are_unique() {
    let one = Shape { dimension: 0, ..ONE_POINT };
    for shape in [SWEEP, FAILURES, RAMP, SIX_ORDERS, NOTHING, one] {
        let page = page(&made(shape)).unwrap();
        let body = page.split_once("<main>").unwrap().1.split_once("</main>").unwrap().0;
        let mut open: Vec<&str> = Vec::new();
        for tag in body.split('<').skip(1) {
            let tag = tag.split_once('>').expect("a tag is closed").0;
            let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
        let mut names: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "every id is there once: {names:?}");
    }
}

/// Pictures are drawn in colours for light paper; the style sheet must map each of them to one for dark mode.
#[test]
fn every_colour_of_a_picture_has_one_for_dark() {
    let mut colours = BTreeSet::new();
    let shapes = [SWEEP, FAILURES, RAMP, SIX_ORDERS, Shape { dimension: 4, ..ONE_POINT }];
    for picture in shapes.into_iter().flat_map(|shape| dht_pictures::inline(&made(shape)).unwrap()) {
        for attribute in ["fill", "stroke"] {
            let begin = format!(" {attribute}=\"");
            let values = picture.svg.split(&begin).skip(1).map(|rest| rest.split('"').next().unwrap());
            colours.extend(values.filter(|value| *value != "none").map(|value| format!("[{attribute}=\"{value}\"]")));
        }
    }
    assert!(colours.len() > 12);
    let unknown: Vec<_> = colours.iter().filter(|colour| !STYLE.contains(colour.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn what_there_is_nothing_of_has_no_heading() {
    for (shape, absent) in [
        (NOTHING, &["All points", "By hops", "Deliveries", "<figure"][..]),
        (Shape { tests: &[Test::Create], ..ONE_POINT }, &["Deliveries"]),
        (Shape { dimension: 0, ..ONE_POINT }, &["Traffic on the edges"]),
    ] {
        let page = page(&made(shape)).unwrap();
        for text in absent {
            assert!(!page.contains(text), "{text} on the page of {shape:?}");
        }
    }
    let five = page(&made(Shape { dimension: 5, ..ONE_POINT })).unwrap();
    assert!(five.contains("drawn up to dimension 4; this one has 5"));
    assert!(!five.contains("id=\"picture-cube\""));
}

#[test]
fn the_script_is_small_and_a_value_is_not_looked_through() {
    assert!(SCRIPT.lines().count() <= 250);
    assert_eq!(fill("a {{x}} b {{y}}", &[("x", "{{y}}"), ("y", "2")]), "a {{y}} b 2");
    let mut report = made(ONE_POINT);
    report.points[0].latency.curve = vec![Percentile { percentile: 50.0, us: 1.0 }];
    report.command = vec!["/a/b/dht-cli".to_owned(), "{{json}}".to_owned()];
    assert!(page(&report).unwrap().contains("<h1>dht-cli {{json}}</h1>"));
}
