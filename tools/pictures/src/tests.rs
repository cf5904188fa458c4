//! Tests of every picture, which are drawn from fixed data and read back.

use dht_report::fixture::{FAILURES, NOTHING, ONE_POINT, ONE_RUN, RAMP, SIX_ORDERS, SWEEP, Shape, report};

use super::*;

const BLUE: &str = "#0072B2";
const VERMILION: &str = "#D55E00";
const GREEN: &str = "#009E73";
const PURPLE: &str = "#CC79A7";
const ORANGE: &str = "#E69F00";
const SKY: &str = "#56B4E9";
const ALARM: &str = "#A40E26";

const NAMES: [&str; 7] = ["latency", "throughput", "percentiles", "hops", "timeline", "cube", "placement"];

fn svg(shape: Shape, name: &str) -> String {
    let figure = figures(&report(shape)).into_iter().find(|figure| figure.name == name).unwrap();
    files::svg(&figure).unwrap()
}

/// Returns the texts in a picture.
fn texts(svg: &str) -> Vec<&str> {
    svg.lines().filter(|line| !line.starts_with('<')).collect()
}

/// Returns the elements that have an attribute with this value.
fn count(svg: &str, element: &str, value: &str) -> usize {
    let value = format!("\"{value}\"");
    svg.lines().filter(|line| line.starts_with(&format!("<{element} ")) && line.contains(&value)).count()
}

/// Draws a picture of a report, and returns its texts and the colours of its series.
type Case = (Shape, &'static str, &'static [&'static str], &'static [&'static str]);

const CASES: [Case; 12] = [
    (
        SWEEP,
        "latency",
        &["create", "publish", "subscribe", "query", "average", "p50", "p99", "topics", "latency, µs", "1 000"],
        &[BLUE, GREEN, VERMILION],
    ),
    (
        SWEEP,
        "throughput",
        &["create", "publish", "subscribe", "query", "topics", "answers a second", "0", "100 000", "payload", "MB/s"],
        &[BLUE, VERMILION, GREEN, PURPLE],
    ),
    (SWEEP, "percentiles", &["1 topic", "1 000 topics", "percentile, %", "90", "99.99"], &[BLUE, GREEN]),
    (
        FAILURES,
        "percentiles",
        &["1 000 topics, since its time", "1 topic, since its time", "1 000 topics, since it was sent"],
        &[BLUE, GREEN, VERMILION],
    ),
    (RAMP, "percentiles", &["100 topics at 60 000/s, since its time", "100 topics at 5 000/s, since its time"], &[]),
    (
        RAMP,
        "rate-latency",
        &[
            "publish, 100 topics",
            "query, 100 topics: rate",
            "requests a second, asked for",
            "as many as asked for",
            "p99",
        ],
        &[BLUE, GREEN, VERMILION, PURPLE, ORANGE],
    ),
    (
        SWEEP,
        "cube",
        &[
            "000",
            "010",
            "111",
            "dimension 2",
            "180 k",
            "186 k frames",
            "731 k frames, 33.3 %",
            "its directions are added",
        ],
        &[BLUE, VERMILION, GREEN],
    ),
    (SIX_ORDERS, "cube", &["302", "1.07 M", "10.7 k frames"], &[BLUE, VERMILION, GREEN]),
    (
        SWEEP,
        "hops",
        &["hops", "query, 1 000 topics: shares", "share of requests, %", "expected of the cube", "37.5", "37.9"],
        &[BLUE, GREEN, VERMILION, ORANGE],
    ),
    (SWEEP, "timeline", &["time, s", "answers a second", "p99", "publish, 1 000 topics, run 1"], &[BLUE, VERMILION]),
    (SWEEP, "placement", &["node", "topics", "7", "95 of 100 even draws"], &[SKY, GREEN]),
    (SIX_ORDERS, "latency", &["topics (logarithmic)", "latency (logarithmic)", "1 µs", "1 ms", "1 s"], &[BLUE]),
];

#[test]
fn every_picture_has_its_titles_axes_units_and_series() {
    for (shape, name, expected, colours) in CASES {
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
        let [.., command, made] = texts.as_slice() else { panic!("{name} has no footer") };
        assert_eq!(*command, "dht-cli bench sweep");
        assert!(made.starts_with("dht-cli 0.1.0 (b6e2764+)  ·  dht-node 0.1.0 (a1b2c3d)  ·  AMD"), "{made}");
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
        assert_eq!(texts[4], "the generator, not the cluster, was the bottleneck in a run");
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
    assert_eq!(texts.iter().filter(|text| **text == "0").count(), 5, "and one of the payload");
    assert_eq!(texts.iter().filter(|text| text.starts_with("answers a second")).count(), 4);
    assert!(texts.contains(&"answers a second, millions"));
}

#[test]
fn an_edge_of_every_cube_is_drawn_once_and_apart_from_the_others() {
    for (dimension, edges) in [(1_u8, 1), (2, 4), (3, 12), (4, 32)] {
        let figure = traffic::cube(&report(Shape { dimension, ..ONE_POINT })).unwrap();
        let graph = figure.graph.as_ref().unwrap();
        assert_eq!((graph.nodes.len(), graph.lines.len()), (1 << dimension, edges));
        let middles: Vec<(f64, f64)> = graph.lines.iter().map(|line| graph::middle(&line.places)).collect();
        let spots = graph.nodes.iter().map(|(_, place)| *place).chain(middles.iter().copied());
        for (index, middle) in middles.iter().enumerate() {
            let distance = |(x, y): (f64, f64)| (x - middle.0).hypot((y - middle.1) * 2.0);
            let others = spots.clone().enumerate().filter(|(other, _)| *other != index + graph.nodes.len());
            let nearest = others.map(|(_, spot)| distance(spot)).fold(1.0, f64::min);
            assert!(nearest > 0.07, "dimension {dimension}: a number has no room at {middle:?}");
        }
    }
    for (dimension, what) in [(0, "there are no edges"), (5, "too many to read")] {
        assert!(traffic::cube(&report(Shape { dimension, ..ONE_POINT })).is_none(), "{what}");
    }
    assert!(traffic::cube(&Report { edges: Vec::new(), ..report(ONE_POINT) }).is_none());
}

#[test]
fn a_ramp_over_one_number_of_topics_is_shown_against_its_rate() {
    let names: Vec<&str> = figures(&report(RAMP)).iter().map(|figure| figure.name).collect();
    assert_eq!(names, ["percentiles", "hops", "rate-latency", "timeline", "cube", "placement"]);
    let both = report(Shape { topics: &[1, 100], ..RAMP });
    let latency = figures(&both).into_iter().find(|figure| figure.name == "latency").unwrap();
    assert_eq!(latency.panels[0].curves[0].points.len(), 2, "of each number of topics the lowest rate");
}

#[test]
fn two_reports_stand_in_one_picture_with_their_bands() {
    let (old, new) = (report(SWEEP), report(Shape { tests: &[Test::Publish, Test::Ping], ..SWEEP }));
    let rivals = [Rival { name: "be<fore", report: &old }, Rival { name: "after", report: &new }];
    let figure = overlay::overlay(rivals, vec!["be<fore: 3 requests failed".to_owned()]).unwrap();
    let svg = files::svg(&figure).unwrap();
    let texts = texts(&svg);
    for text in [
        "be&lt;fore",
        "after",
        "be&lt;fore: 3 requests failed",
        "publish: average latency",
        "publish: throughput",
        "answers a second",
        "lowest to highest run",
    ] {
        assert!(texts.contains(&text), "{text:?}: {texts:?}");
    }
    assert_eq!((count(&svg, "polygon", BLUE), count(&svg, "polygon", VERMILION)), (2, 2));
    let other = report(Shape { tests: &[Test::Ping], ..SWEEP });
    let rivals = [Rival { name: "a", report: &old }, Rival { name: "b", report: &other }];
    assert!(overlay::overlay(rivals, Vec::new()).is_none());
}

#[test]
fn what_stands_at_a_point_is_said_and_series_are_groups() {
    let latency = svg(SWEEP, "latency");
    let title = "<title>average · topics 100 · latency 94.0 µs (88.4 µs to 99.6 µs)</title>";
    assert!(latency.contains(title), "{latency}");
    assert_eq!(latency.matches("<circle class=\"point\"").count(), 4 * 3 * 11);
    for series in 0..3 {
        assert_eq!(latency.matches(&format!("<g data-series=\"{series}\">")).count(), 4);
        assert_eq!(latency.matches(&format!("<g data-legend=\"{series}\">")).count(), 1);
    }
    assert_eq!(latency.matches("<g ").count(), latency.matches("</g>").count());
    assert!(svg(SWEEP, "cube").contains("<title>000 – 001 · dimension 0 · 180 300 frames · 31.0 MiB</title>"));
    assert!(svg(SWEEP, "percentiles").contains("percentile 99.0 % · latency"));
}

#[test]
fn twenty_series_look_different_and_their_legend_has_rows() {
    let names: Vec<String> = (0..20).map(|index| format!("a series of some length {index}")).collect();
    let curves = names.iter().enumerate().map(|(index, name)| figure::Curve {
        name: name.clone(),
        look: figure::look(index),
        points: vec![figure::Point::new(1.0, 1.0), figure::Point::new(2.0, 1.0 + index as f64)],
    });
    let curves: Vec<figure::Curve> = curves.collect();
    for (index, curve) in curves.iter().enumerate() {
        assert!(curves[..index].iter().all(|other| other.look != curve.look), "{index}");
    }
    let (x, y) = (axis::Axis::counts("topics", &[1.0, 2.0]), axis::Axis::rates("answers", [20.0].into_iter()));
    let panel = Panel { title: String::new(), x, y, curves, bars: Vec::new(), failures: Vec::new() };
    let figure = picture(&report(SWEEP), "twenty", "Twenty", vec![panel]).unwrap();
    let svg = files::svg(&figure).unwrap();
    for line in svg.lines().filter(|line| line.starts_with("<text ")) {
        let x: u32 = line.split(" x=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!(x < 960 - 150 || line.contains("\"end\"") || line.contains("\"middle\""), "{line}");
    }
    assert_eq!(svg.matches("data-legend").count(), 20);
}

#[test]
fn a_panel_without_figures_says_so() {
    let mut empty = report(ONE_POINT);
    empty.points[0].requests = 0;
    let latency = sweep::latency(&empty).unwrap();
    assert!(texts(&files::svg(&latency).unwrap()).contains(&"nothing was measured"));
}

#[test]
fn foreign_words_cannot_be_taken_for_ours() {
    let mut report = report(ONE_POINT);
    report.command = vec!["\u{E000}0".to_owned(), "a\u{1b}[31m\nb".to_owned(), "<g>\"&".to_owned()];
    report.cluster.software = vec!["\u{E001}</svg><script>".to_owned()];
    for figure in figures(&report) {
        let svg = files::svg(&figure).unwrap();
        assert!(svg.contains("\n0 a[31mb &lt;g&gt;&quot;&amp;\n"), "{}: {svg}", figure.name);
        assert!(svg.contains("&lt;/svg&gt;&lt;script&gt;") && !svg.contains("<script"));
    }
}

#[test]
fn nothing_stands_outside_of_a_picture() {
    let four = Shape { dimension: 4, fails: true, ..ONE_POINT };
    for shape in [SWEEP, FAILURES, ONE_POINT, ONE_RUN, SIX_ORDERS, RAMP, four] {
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
fn the_files_are_those_of_the_figures_and_a_png_is_twice_as_large() {
    let folder = tempfile::tempdir().unwrap();
    let made = report(ONE_POINT);
    let paths = draw(&made, folder.path()).unwrap();
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
