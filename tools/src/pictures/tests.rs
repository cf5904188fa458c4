//! Every picture, drawn from fixed data and read back.

mod fixture;

use std::io::ErrorKind;

use super::*;
use fixture::{FAILURES, NOTHING, ONE_POINT, ONE_RUN, SIX_ORDERS, SWEEP, Shape, report};

const BLUE: &str = "#0072B2";
const VERMILION: &str = "#D55E00";
const GREEN: &str = "#009E73";
const PURPLE: &str = "#CC79A7";
const ORANGE: &str = "#E69F00";
const SKY: &str = "#56B4E9";
const ALARM: &str = "#A40E26";

const NAMES: [&str; 6] = ["latency", "throughput", "percentiles", "hops", "timeline", "placement"];

fn svg(shape: Shape, name: &str) -> String {
    let figure = figures(&report(shape)).into_iter().find(|figure| figure.name == name).unwrap();
    files::svg(&figure).unwrap()
}

/// What is written in a picture.
fn texts(svg: &str) -> Vec<&str> {
    svg.lines().filter(|line| !line.starts_with('<')).collect()
}

/// The elements that have an attribute of this value.
fn count(svg: &str, element: &str, value: &str) -> usize {
    let value = format!("\"{value}\"");
    svg.lines().filter(|line| line.starts_with(&format!("<{element} ")) && line.contains(&value)).count()
}

#[test]
fn every_picture_has_its_titles_axes_units_and_series() {
    let cases: [(Shape, &str, &[&str], &[&str]); 8] = [
        (
            SWEEP,
            "latency",
            &["create", "publish", "subscribe", "query", "average", "p50", "p99", "topics", "latency, µs", "1 000"],
            &[BLUE, GREEN, VERMILION],
        ),
        (
            SWEEP,
            "throughput",
            &["create", "publish", "subscribe", "query", "topics", "answers a second", "0", "100 000"],
            &[BLUE, VERMILION, GREEN, PURPLE],
        ),
        (SWEEP, "percentiles", &["1 topic", "1 000 topics", "percentile, %", "90", "99.99"], &[BLUE, GREEN]),
        (FAILURES, "percentiles", &["1 000 topics, since it was sent"], &[BLUE, GREEN, VERMILION]),
        (
            SWEEP,
            "hops",
            &["hops", "query, 1 000 topics: shares", "share of requests, %", "expected of the cube", "37.5", "37.9"],
            &[BLUE, GREEN, VERMILION, ORANGE],
        ),
        (
            SWEEP,
            "timeline",
            &["time, s", "answers a second", "p99", "publish, 1 000 topics, run 1"],
            &[BLUE, VERMILION],
        ),
        (SWEEP, "placement", &["node", "topics", "7", "95 of 100 even draws"], &[SKY, GREEN]),
        (SIX_ORDERS, "latency", &["topics (logarithmic)", "latency (logarithmic)", "1 µs", "1 ms", "1 s"], &[BLUE]),
    ];
    for (shape, name, expected, colours) in cases {
        let svg = svg(shape, name);
        let texts = texts(&svg);
        for text in expected {
            assert!(texts.contains(text), "{name} lacks {text:?}: {texts:?}");
        }
        for colour in colours {
            assert!(svg.contains(colour), "{name} lacks a series in {colour}");
        }
    }
}

#[test]
fn a_picture_says_how_it_was_measured_by_what() {
    for name in NAMES {
        let svg = svg(SWEEP, name);
        let texts = texts(&svg);
        assert!(texts.contains(&"closed loop (stalls are under-counted), 8 connections, 128 B, 3 runs of 3 s"));
        let footer = texts.last().unwrap();
        assert!(footer.starts_with("dht-cli bench sweep  ·  dht-node 0.1.0 (a1b2c3d)"), "{footer}");
    }
}

#[test]
fn a_sweep_has_a_marker_at_each_point_and_a_band_for_its_runs() {
    let latency = svg(SWEEP, "latency");
    assert_eq!(count(&latency, "circle", BLUE), 4 * 11 + 1, "four panels and the legend");
    assert_eq!(count(&latency, "polygon", BLUE), 4);
    assert_eq!(count(&latency, "polyline", BLUE), 4 + 1, "the average is a solid line");
    assert!(count(&latency, "polyline", VERMILION) > 4 * 11, "the others are dashed");
    assert!(texts(&latency).contains(&"lowest to highest run"));

    let one_run = svg(ONE_RUN, "latency");
    assert_eq!(count(&one_run, "polygon", BLUE), 0);
    assert!(!texts(&one_run).contains(&"lowest to highest run"));
}

#[test]
fn a_single_point_is_a_marker_with_whiskers() {
    let latency = svg(ONE_POINT, "latency");
    assert_eq!(count(&latency, "circle", BLUE), 1 + 1);
    assert_eq!(count(&latency, "polyline", BLUE), 3 + 1);
    assert_eq!(texts(&latency).iter().filter(|text| **text == "1 000").count(), 1);
}

#[test]
fn failures_come_first_and_are_marked_where_they_happened() {
    for name in NAMES {
        let svg = svg(FAILURES, name);
        let texts = texts(&svg);
        assert_eq!(texts[2], "9 872 requests failed; their times are in no figure");
        assert_eq!(texts[3], "stopped before its end: points or runs are missing");
        assert_eq!(texts[4], "the generator, not the cluster, was the limit in a run");
    }
    let latency = svg(FAILURES, "latency");
    assert_eq!(count(&latency, "polyline", ALARM), 2 * (4 * 2 + 1), "two strokes for each cross");
    assert_eq!(count(&latency, "circle", BLUE), 4 * 11, "a point without an answer has no marker");
    assert_eq!(count(&latency, "polyline", BLUE), 5 + 1, "the curve of publish has a gap");
    assert_eq!(count(&svg(SWEEP, "latency"), "polyline", ALARM), 0);
}

#[test]
fn rates_begin_at_zero_and_have_panels_of_their_own_when_far_apart() {
    let throughput = svg(SIX_ORDERS, "throughput");
    let texts = texts(&throughput);
    assert_eq!(texts.iter().filter(|text| **text == "0").count(), 4);
    assert_eq!(texts.iter().filter(|text| text.starts_with("answers a second")).count(), 4);
    assert!(texts.contains(&"answers a second, millions"));
}

#[test]
fn nothing_stands_outside_of_a_picture() {
    for shape in [SWEEP, FAILURES, ONE_POINT, ONE_RUN, SIX_ORDERS] {
        for figure in figures(&report(shape)) {
            let (width, height) = render::size(&figure);
            let svg = files::svg(&figure).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
            for line in svg.lines().filter(|line| line.starts_with('<') && line.contains(" points=\"")) {
                let points = line.split(" points=\"").nth(1).unwrap().split('"').next().unwrap();
                for point in points.split_whitespace() {
                    let (x, y) = point.split_once(',').unwrap();
                    let inside = x.parse::<u32>().unwrap() <= width && y.parse::<u32>().unwrap() <= height;
                    assert!(inside, "{}: {point}", figure.name);
                }
            }
        }
    }
}

#[test]
fn a_report_without_points_has_no_pictures() {
    assert!(figures(&report(NOTHING)).is_empty());
}

#[test]
fn plot_draws_what_report_json_says_and_a_png_is_twice_as_large() {
    let folder = tempfile::tempdir().unwrap();
    let made = report(ONE_POINT);
    fs::write(folder.path().join("report.json"), serde_json::to_vec(&made).unwrap()).unwrap();
    let paths = plot(folder.path()).unwrap();
    let expected = NAMES.iter().flat_map(|name| [format!("{name}.svg"), format!("{name}.png")]);
    assert_eq!(paths, expected.map(|name| folder.path().join(name)).collect::<Vec<_>>());
    for (figure, files) in figures(&made).iter().zip(paths.chunks(2)) {
        assert!(fs::read_to_string(&files[0]).unwrap() == files::svg(figure).unwrap(), "{}", figure.name);
        let decoder = png::Decoder::new(io::Cursor::new(fs::read(&files[1]).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let (width, height) = render::size(figure);
        assert_eq!((info.width, info.height), (width * files::PNG_SCALE, height * files::PNG_SCALE));
        let marked = pixels.chunks(3).filter(|pixel| pixel[0] < 0x60).count();
        assert!(marked > 2000, "{}: text and lines are dark", figure.name);
    }
}

#[test]
fn plot_says_which_file_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let newer = serde_json::to_vec(&Report { schema: SCHEMA + 1, ..report(ONE_POINT) }).unwrap();
    let cases = [
        (None, ErrorKind::NotFound, ""),
        (Some(b"{".to_vec()), ErrorKind::InvalidData, "EOF"),
        (Some(newer), ErrorKind::InvalidData, "its schema is"),
    ];
    for (bytes, kind, expected) in cases {
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let error = plot(folder.path()).unwrap_err();
        assert_eq!(error.kind(), kind);
        let text = error.to_string();
        assert!(text.contains("report.json") && text.contains(expected), "{text}");
    }
}

#[test]
fn numbers_are_short() {
    let cases = [
        (0.0, "0"),
        (0.05, "0.05"),
        (0.5, "0.5"),
        (2.0, "2"),
        (2.5, "2.5"),
        (999.0, "999"),
        (1000.0, "1 000"),
        (1_234_567.0, "1 234 567"),
    ];
    for (number, expected) in cases {
        assert_eq!(axis::number_text(number), expected);
    }
}
