//! `NAME.hgrm`: a distribution in the text format of HdrHistogram, which plotters read.
//!
//! ```text
//!        Value     Percentile TotalCount 1/(1-Percentile)
//!
//!       81.279 0.000000000000          1           1.00
//!          …
//!     1250.303 1.000000000000      48211
//! #[Mean    =      148.402, StdDeviation   =       31.119]
//! #[Max     =     1250.303, Total count    =        48211]
//! #[Buckets =           27, SubBuckets     =         2048]
//! ```
//!
//! Values are in microseconds. Each operation has a file, with all its points and runs merged.

use hdrhistogram::Histogram;

/// Histogram values are in nanoseconds.
const NANOS: f64 = 1000.0;

/// Number of lines for each halving of the distance to 100 %.
const TICKS: u32 = 5;

/// Returns the text of the file.
pub(super) fn text(histogram: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / NANOS, step.quantile_iterated_to());
        // In the last line the last column would be infinite, so the format omits it.
        let inverse = if quantile < 1.0 { format!(" {:14.2}", 1.0 / (1.0 - quantile)) } else { String::new() };
        text += &format!("{value:12.3} {quantile:2.12} {count:10}{inverse}\n");
    }
    let (mean, deviation) = (histogram.mean() / NANOS, histogram.stdev() / NANOS);
    let (max, all, buckets) = (histogram.max() as f64 / NANOS, histogram.len(), histogram.buckets());
    // The resolution: the power of two above twice ten to the number of digits.
    let sub_buckets = (2 * 10_u32.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    text += &format!("#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n");
    text += &format!("#[Max     = {max:12.3}, Total count    = {all:12}]\n");
    text += &format!("#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_hdrhistogram() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        (1..=1000).for_each(|micros| histogram.record(micros * 1000).unwrap());
        let text = text(&histogram);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["       Value     Percentile TotalCount 1/(1-Percentile)", ""]);
        assert_eq!(lines[2], "       1.000 0.000000000000          1           1.00");
        let (ends, rows): (Vec<&str>, Vec<&str>) = lines[2..].iter().copied().partition(|line| line.starts_with('#'));
        assert_eq!(ends.len(), 3, "{text}");
        assert!(ends[0].starts_with("#[Mean    =      500.") && ends[1].ends_with("Total count    =         1000]"));
        let (last, inner) = rows.split_last().unwrap();
        assert_eq!(last.split_whitespace().skip(1).collect::<Vec<_>>(), ["1.000000000000", "1000"]);
        let figures = |line: &str| -> Vec<f64> { line.split_whitespace().map(|word| word.parse().unwrap()).collect() };
        for line in inner {
            let [value, quantile, count, inverse] = figures(line)[..] else { panic!("{line}") };
            // Of the values 1 to 1000 µs, the count is the number of values at most this one, and the quantile does not
            // exceed it.
            assert!((value - count).abs() < 1.0 && quantile * 1000.0 <= count + 1e-6, "{line}");
            assert!((inverse * (1.0 - quantile) - 1.0).abs() < 0.01, "{line}");
        }
        assert!(inner.iter().map(|line| figures(line)[1]).is_sorted());
        assert!(inner.iter().any(|line| figures(line)[1] == 0.5 && figures(line)[2] >= 500.0), "{text}");
    }
}
