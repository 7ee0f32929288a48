//! What pictures are made of: cells, grids of cells, sums of coloured terms. No script, no font
//! of its own; the colours follow the reader's choice of light or dark.

use crate::layer::Grid;
use std::collections::BTreeSet;

/// Width of a character of a symbol, in pixels: its font is monospaced.
const CHARACTER: f64 = 8.5;
/// Between the panels of a tensor.
const PANEL_GAP: f64 = 14.0;

/// How a cell looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Look {
    Plain,
    /// Not what the picture is about.
    Dim,
    /// A zero of the padding.
    Padding,
    /// In the colour of a window, a phase, ..
    Hue(u16),
    /// The same, darker: what the picture is about.
    Strong(u16),
}

/// One cell: its label, a smaller one below, and its look.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) label: String,
    pub(crate) small: String,
    pub(crate) look: Look,
}

impl Cell {
    pub(crate) fn new(label: impl Into<String>, look: Look) -> Self {
        Self { label: label.into(), small: String::new(), look }
    }

    pub(crate) fn small(mut self, small: impl Into<String>) -> Self {
        self.small = small.into();
        self
    }
}

/// A picture in the making; coordinates are pixels from the top left.
#[derive(Debug, Default)]
pub(crate) struct Canvas {
    body: String,
    width: f64,
    height: f64,
    hues: BTreeSet<u16>,
}

impl Canvas {
    fn reach(&mut self, x: f64, y: f64) {
        self.width = self.width.max(x);
        self.height = self.height.max(y);
    }

    fn class(&mut self, look: Look) -> String {
        match look {
            Look::Plain => "plain".to_owned(),
            Look::Dim => "dim".to_owned(),
            Look::Padding => "padding".to_owned(),
            Look::Hue(hue) | Look::Strong(hue) => {
                self.hues.insert(hue);
                let strong = if matches!(look, Look::Strong(_)) { " strong" } else { "" };
                format!("h{hue}{strong}")
            }
        }
    }

    /// A rectangle with its labels in the middle.
    pub(crate) fn cell(&mut self, [x, y]: [f64; 2], [w, h]: [f64; 2], cell: &Cell) {
        let class = self.class(cell.look);
        self.body += &format!(
            "<g class=\"{class}\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\"/>",
            x + 1.5,
            y + 1.5,
            w - 3.0,
            h - 3.0
        );
        let middle = x + w / 2.0;
        let base = y + h / 2.0 + if cell.small.is_empty() { 4.5 } else { -1.5 };
        if !cell.label.is_empty() {
            self.body += &format!("<text x=\"{middle}\" y=\"{base}\">{}</text>", cell.label);
        }
        if !cell.small.is_empty() {
            let base = base + 12.5;
            self.body +=
                &format!("<text class=\"small\" x=\"{middle}\" y=\"{base}\">{}</text>", cell.small);
        }
        self.body += "</g>\n";
        self.reach(x + w, y + h);
    }

    /// A tensor, panel beside panel. Returns its size.
    pub(crate) fn grid(
        &mut self,
        [x, y]: [f64; 2],
        grid: Grid,
        size: [f64; 2],
        cell: impl Fn(usize) -> Cell,
    ) -> [f64; 2] {
        for (n, at) in grid.elements() {
            let [left, top] = place(grid, size, at);
            self.cell([x + left, y + top], size, &cell(n));
        }
        extent(grid, size)
    }

    /// The middle of a cell of a grid drawn at a place.
    pub(crate) fn middle([x, y]: [f64; 2], grid: Grid, size: [f64; 2], n: usize) -> [f64; 2] {
        let at = [n / grid.columns / grid.rows, n / grid.columns % grid.rows, n % grid.columns];
        let [left, top] = place(grid, size, at);
        [x + left + size[0] / 2.0, y + top + size[1] / 2.0]
    }

    /// A sentence that starts at a place.
    pub(crate) fn sentence(&mut self, [x, y]: [f64; 2], text: &str) {
        self.body += &format!("<text class=\"words\" x=\"{x}\" y=\"{y}\">{text}</text>\n");
        self.reach(x + 7.4 * text.chars().count() as f64, y + 6.0);
    }

    /// A heading that starts at a place.
    pub(crate) fn title(&mut self, [x, y]: [f64; 2], text: &str) {
        self.body += &format!("<text class=\"title\" x=\"{x}\" y=\"{y}\">{text}</text>\n");
        self.reach(x + 9.8 * text.chars().count() as f64, y + 6.0);
    }

    /// A sign or a symbol round a place.
    pub(crate) fn sign(&mut self, [x, y]: [f64; 2], text: &str) {
        let y = y + 5.0;
        self.body += &format!("<text class=\"sign\" x=\"{x}\" y=\"{y}\">{text}</text>\n");
        self.reach(x + CHARACTER * text.chars().count() as f64 / 2.0, y);
    }

    /// A curve from one place to another, with a head at its end.
    pub(crate) fn arrow(&mut self, [x, y]: [f64; 2], [to_x, to_y]: [f64; 2], look: Look) {
        let class = self.class(look);
        let (bend, unit) = ((to_x - x) / 2.0, (to_x - x).signum());
        self.body += &format!(
            "<path class=\"arrow {class}\" d=\"M{x} {y}C{} {y} {} {to_y} {to_x} {to_y}m{} -4l{} 4l{} 4\"/>\n",
            x + bend,
            to_x - bend,
            -6.0 * unit,
            6.0 * unit,
            -6.0 * unit,
        );
        self.reach(x.max(to_x), y.max(to_y));
    }

    /// `left = a + b + ..`, each term in its colour, in lines of at most `most` characters. Returns
    /// where the next line would stand.
    pub(crate) fn sum(
        &mut self,
        [x, mut y]: [f64; 2],
        left: &str,
        terms: &[(String, u16)],
        most: usize,
    ) -> f64 {
        let (mut line, mut used) = (format!("{left} ="), left.chars().count() + 2);
        let mut lines = Vec::new();
        for (n, (term, hue)) in terms.iter().enumerate() {
            let sign = if n == 0 { " " } else { " + " };
            let len = sign.len() + term.chars().count();
            if used + len > most && n > 0 {
                lines.push((std::mem::take(&mut line), used));
                used = left.chars().count() + 2;
            }
            let class = self.class(Look::Hue(*hue));
            line += &format!("{sign}<tspan class=\"{class}\">{term}</tspan>");
            used += len;
        }
        lines.push((line, used));
        for (n, (line, used)) in lines.iter().enumerate() {
            let left = if n == 0 { x } else { x + CHARACTER * (left.chars().count() + 1) as f64 };
            self.body += &format!("<text class=\"sum\" x=\"{left}\" y=\"{y}\">{line}</text>\n");
            self.reach(x + CHARACTER * *used as f64, y + 6.0);
            y += 24.0;
        }
        y
    }

    /// How far down the picture goes.
    pub(crate) fn bottom(&self) -> f64 {
        self.height
    }

    /// The file.
    pub(crate) fn finish(self, title: &str) -> String {
        let (w, h) = ((self.width + 16.0).ceil(), (self.height + 16.0).ceil());
        let colours = |light: bool| -> String {
            let one = |&hue: &u16| {
                let [fill, strong, line] = if light {
                    [(0.93, 0.055), (0.83, 0.12), (0.58, 0.15)]
                } else {
                    [(0.34, 0.065), (0.47, 0.12), (0.74, 0.13)]
                }
                .map(|(lightness, chroma)| rgb(lightness, chroma, hue));
                format!(
                    ".h{hue} rect{{fill:{fill};stroke:{line}}}.h{hue}.strong rect{{fill:{strong}}}.sum .h{hue}{{fill:{}}}.arrow.h{hue}{{stroke:{line}}}",
                    rgb(if light { 0.48 } else { 0.8 }, 0.13, hue)
                )
            };
            self.hues.iter().map(one).collect()
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"img\">\n\
             <title>{title}</title>\n<style>{STYLE}{}@media(prefers-color-scheme:dark){{{DARK}{}}}</style>\n\
             <rect class=\"page\" width=\"{w}\" height=\"{h}\" rx=\"8\"/>\n{}</svg>\n",
            colours(true),
            colours(false),
            self.body
        )
    }
}

/// Where a cell of a tensor lies from its top left.
fn place(grid: Grid, [w, h]: [f64; 2], [panel, row, column]: [usize; 3]) -> [f64; 2] {
    let panel_width = grid.columns as f64 * w + PANEL_GAP;
    [panel as f64 * panel_width + column as f64 * w, row as f64 * h]
}

/// The size of a tensor drawn with cells of a size.
pub(crate) fn extent(grid: Grid, [w, h]: [f64; 2]) -> [f64; 2] {
    let panel_width = grid.columns as f64 * w + PANEL_GAP;
    [grid.panels as f64 * panel_width - PANEL_GAP, grid.rows as f64 * h]
}

/// `count` hues as far apart as they can be; the first is blue.
pub(crate) fn hue(n: usize, count: usize) -> u16 {
    ((255 + 360 * n / count.max(1)) % 360) as u16
}

/// A colour of OKLCH (Björn Ottosson, "A perceptual color space for image processing", 2020), in
/// which equal lightness looks equally light, as sRGB.
fn rgb(lightness: f64, chroma: f64, hue: u16) -> String {
    let (sin, cos) = f64::from(hue).to_radians().sin_cos();
    let (a, b) = (chroma * cos, chroma * sin);
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548 * b).powi(3);
    let linear = [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701 * s,
    ];
    let byte = |x: f64| {
        let x = x.clamp(0.0, 1.0);
        let x = if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 };
        (x * 255.0).round() as u8
    };
    let [r, g, b] = linear.map(byte);
    format!("#{r:02x}{g:02x}{b:02x}")
}

const STYLE: &str = "\
.page{fill:#fff}text{fill:#1c2430;font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;text-anchor:middle}\
.small{font-size:10px;fill:#4a5666}.words,.title{font-family:system-ui,sans-serif;text-anchor:start}\
.words{font-size:13px;fill:#4a5666}.title{font-size:16px;font-weight:600}.sign{font-size:17px}\
.sum{text-anchor:start;white-space:pre}rect{stroke-width:1.5}.plain rect{fill:#f6f7f9;stroke:#c3cad4}\
.dim rect{fill:none;stroke:#dde2e8}.dim text{fill:#8a94a3}.padding rect{fill:none;stroke:#c3cad4;stroke-dasharray:3 3}\
.padding text{fill:#8a94a3}.arrow{fill:none;stroke:#c3cad4;stroke-width:1.5;stroke-linecap:round}";

const DARK: &str = "\
.page{fill:#12161c}text{fill:#e8ecf2}.small,.words{fill:#aab4c2}.plain rect{fill:#1d232c;stroke:#47515f}\
.dim rect{stroke:#2b323c}.dim text,.padding text{fill:#768191}.padding rect{stroke:#47515f}.arrow{stroke:#47515f}";

#[cfg(test)]
mod tests {
    use super::*;

    /// The corners that the definition's author gives.
    #[test]
    fn colours_of_oklch() {
        assert_eq!(rgb(1.0, 0.0, 0), "#ffffff");
        assert_eq!(rgb(0.0, 0.0, 0), "#000000");
        assert_eq!(rgb(0.5, 0.0, 0), "#636363");
        // sRGB red is (0.628, 0.258, 29.2).
        assert!(rgb(0.628, 0.258, 29).starts_with("#ff00"));
    }

    #[test]
    fn hues_are_apart() {
        let hues: BTreeSet<u16> = (0..64).map(|n| hue(n, 64)).collect();
        assert_eq!(hues.len(), 64);
    }
}
