//! The report as a picture: a bar for each step, in the colours of its parts.

use crate::report::Report;

const LINE: f64 = 18.0;
const TOP: f64 = 62.0;
const LEFT: f64 = 210.0;
const WIDTH: f64 = 420.0;
const RIGHT: f64 = 200.0;

/// Light and dark, as the reader's system has it.
const STYLE: &str = "
svg { font: 12px system-ui, sans-serif }
.paper { fill: #fff } text { fill: #1f2328 } .soft { fill: #59636e } .title { font-size: 16px; font-weight: 600 }
.part0 { fill: #0969da } .part1 { fill: #1a7f37 } .part2 { fill: #8250df }
.part3 { fill: #9198a1 } .other { fill: #9198a1 }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117 } text { fill: #f0f6fc } .soft { fill: #9198a1 }
  .part0 { fill: #4493f8 } .part1 { fill: #3fb950 } .part2 { fill: #ab7df8 }
  .part3 { fill: #656c76 } .other { fill: #656c76 }
}
";

/// The picture of a report.
pub(crate) fn draw(report: &Report) -> String {
    let longest = report.rows.iter().map(|row| row.total()).fold(f64::MIN_POSITIVE, f64::max);
    let (width, height) = (LEFT + WIDTH + RIGHT, TOP + LINE * report.rows.len() as f64 + 14.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" \
         role=\"img\" aria-label=\"{title}: milliseconds of each layer\">\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"12\" y=\"24\">{title}: {:.1} ms, {:.0} GFLOP/s</text>\n",
        report.total() * 1e3,
        report.speed() / 1e9,
        title = report.title,
    );
    let mut x = 12.0;
    let names: Vec<_> = match report.parts.len() {
        1 => vec![("part0", "convolutions"), ("other", "other steps")],
        _ => ["part0", "part1", "part2", "part3"]
            .into_iter()
            .zip(report.parts.iter().copied())
            .collect(),
    };
    for (class, name) in names {
        svg += &format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"36\" width=\"11\" height=\"11\" rx=\"2\"/>\
             <text x=\"{}\" y=\"46\">{name}</text>\n",
            x + 16.0
        );
        x += 36.0 + 7.0 * name.len() as f64;
    }
    for (n, row) in report.rows.iter().enumerate() {
        let (y, mut x) = (TOP + LINE * n as f64, LEFT);
        let base = y + 10.5;
        svg += &format!(
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{} <tspan class=\"soft\">{}</tspan></text>",
            LEFT - 8.0,
            row.name,
            row.makes
        );
        for (part, seconds) in row.seconds.iter().enumerate() {
            let class = match row.flops {
                None => "other".to_owned(),
                Some(_) => format!("part{part}"),
            };
            let length = WIDTH * seconds / longest;
            svg += &format!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{length:.1}\" height=\"13\"/>"
            );
            x += length;
        }
        let speed = row.speed().map_or_else(String::new, |speed| {
            format!(", {:.0} GFLOP/s {}", speed / 1e9, report.share(speed))
        });
        svg += &format!(
            "<text class=\"soft\" x=\"{:.1}\" y=\"{base}\">{:.2} ms{speed}</text>\n",
            x + 6.0,
            row.total() * 1e3
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Peak, Row};

    #[test]
    fn every_step_has_a_bar_for_each_part() {
        let rows = vec![
            Row::new("a", [1, 2, 3], vec![1e-3, 2e-3, 0.0, 1e-3], Some(1e6), None),
            Row::new("pool", [1, 1, 1], vec![0.0, 0.0, 0.0, 1e-3], None, None),
        ];
        let parts = vec!["forward", "grad_weight", "grad_input", "other"];
        let report = Report {
            title: "t".to_owned(),
            parts,
            rows,
            peak: Some(Peak { name: "", speed: 1e9 }),
            notes: vec![],
        };
        let svg = draw(&report);
        // Paper, four parts of the legend, and four bars for each of two steps.
        assert_eq!(svg.matches("<rect").count(), 1 + 4 + 2 * 4, "{svg}");
        // Two products of a million in three milliseconds.
        assert!(svg.contains("4.00 ms, 1 GFLOP/s 67 %"), "{svg}");
        assert!(svg.contains("width=\"210.0\""), "{svg}");
    }
}
