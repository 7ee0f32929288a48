//! Pictures for the terminal, from shades that every UTF-8 font has, without colours.

use crate::data::Split;
use crate::train::Test;

/// From light to dark.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
/// Columns that fit a terminal.
const COLUMNS: usize = 80;
/// Between two pictures.
const GAP: usize = 2;

/// A picture, its lines all `width` columns wide.
struct Picture {
    width: usize,
    lines: Vec<String>,
}

impl Picture {
    /// Shades of `values`, from `range[0]` (light) to `range[1]` (dark). A character is twice as
    /// high as wide: small images take two for a pixel, large ones one for two rows.
    fn new(values: &[f32], [height, width]: [usize; 2], range: [f32; 2]) -> Self {
        let large = 2 * width > COLUMNS / 2;
        let shade = |value: f32| {
            let share = (value - range[0]) / (range[1] - range[0]);
            SHADES[(share * SHADES.len() as f32).clamp(0.0, SHADES.len() as f32 - 1.0) as usize]
        };
        let line = |rows: &[f32]| -> String {
            let count = rows.len() / width;
            let mean = |x: usize| rows.iter().skip(x).step_by(width).sum::<f32>() / count as f32;
            let pixel = |x| std::iter::repeat_n(shade(mean(x)), if large { 1 } else { 2 });
            (0..width).flat_map(pixel).collect()
        };
        let rows = values[..height * width].chunks(if large { 2 * width } else { width });
        Self { width: if large { width } else { 2 * width }, lines: rows.map(line).collect() }
    }

    /// The picture under a title.
    fn titled(mut self, title: &str) -> Self {
        let width = self.width.max(title.chars().count());
        self.lines.insert(0, title.to_owned());
        for line in &mut self.lines {
            line.extend(std::iter::repeat_n(' ', width - line.chars().count()));
        }
        Self { width, ..self }
    }
}

/// Pictures of one height side by side, in as few rows as the terminal allows.
fn side_by_side(pictures: &[Picture]) -> String {
    let Some(first) = pictures.first() else { return String::new() };
    let fit = ((COLUMNS + GAP) / (first.width + GAP)).max(1);
    let in_a_row = pictures.len().div_ceil(pictures.len().div_ceil(fit));
    let mut text = String::new();
    for row in pictures.chunks(in_a_row) {
        text.push('\n');
        for line in 0..first.lines.len() {
            let parts: Vec<&str> = row.iter().map(|picture| &*picture.lines[line]).collect();
            text.push_str(parts.join(&" ".repeat(GAP)).trim_end());
            text.push('\n');
        }
    }
    text
}

/// The images that got the smallest probability for what they are, worst first.
pub(crate) fn worst(split: &Split, test: &Test, count: usize) -> String {
    let truth = |image: usize| test.of(image)[usize::from(split.labels[image])];
    let mut images: Vec<usize> = (0..split.len()).collect();
    images.sort_by(|&a, &b| truth(a).total_cmp(&truth(b)));
    let picture = |&image: &usize| {
        let (label, read) = (split.labels[image], test.read(image));
        let percent = 100.0 * test.of(image)[read];
        let title = format!("{label}, read {read} ({percent:.0} %)");
        Picture::new(split.image(image), split.size, [0.0, 1.0]).titled(&title)
    };
    let count = count.min(images.len());
    let pictures: Vec<Picture> = images[..count].iter().map(picture).collect();
    side_by_side(&pictures)
}

/// Filters, on one scale around zero.
pub(crate) fn filters(filters: &[f32], size: [usize; 2]) -> String {
    let largest = filters.iter().fold(f32::MIN_POSITIVE, |max, x| max.max(x.abs()));
    let picture = |filter| Picture::new(filter, size, [-largest, largest]);
    let pictures: Vec<Picture> = filters.chunks_exact(size[0] * size[1]).map(picture).collect();
    let scale = String::from_iter(SHADES);
    format!("\"{scale}\" from {:.2} to {largest:.2}\n{}", -largest, side_by_side(&pictures))
}

/// How often each class (row) was read as each class (column).
pub(crate) fn confusion(split: &Split, test: &Test) -> String {
    let mut counts = vec![0usize; test.classes * test.classes];
    for (image, &label) in split.labels.iter().enumerate() {
        counts[usize::from(label) * test.classes + test.read(image)] += 1;
    }
    let width = counts.iter().max().map_or(1, |max| max.to_string().len()).max(2) + 1;
    let cell = |x: &dyn std::fmt::Display| format!("{x:>width$}");
    let row = |cells: Vec<String>| cells.concat() + "\n";
    let mut text = row((0..test.classes).map(|class| cell(&class)).collect());
    text.insert_str(0, &" ".repeat(width + 2));
    for (class, counts) in counts.chunks(test.classes).enumerate() {
        let count = |&n: &usize| if n == 0 { cell(&'·') } else { cell(&n) };
        text.push_str(&format!("{} |", cell(&class)));
        text.push_str(&row(counts.iter().map(count).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_run_from_light_to_dark() {
        let picture = Picture::new(&[0.0, 0.3, 0.5, 0.7, 1.0, 2.0], [2, 3], [0.0, 1.0]);
        assert_eq!(picture.lines, ["  ░░▒▒", "▓▓████"]);
    }

    #[test]
    fn large_images_take_a_character_for_two_rows() {
        let picture = Picture::new(&[1.0; 3 * 28], [3, 28], [0.0, 1.0]);
        assert_eq!((picture.width, picture.lines.len()), (28, 2));
        assert_eq!(picture.lines[1], "█".repeat(28));
    }

    #[test]
    fn every_image_counts_once() {
        let split = Split { size: [2, 2], pixels: vec![0.0; 12], labels: vec![0, 1, 1] };
        let probabilities = vec![0.9, 0.1, 0.8, 0.2, 0.3, 0.7];
        let test = Test { classes: 2, probabilities, accuracy: 2.0 / 3.0 };
        assert_eq!(confusion(&split, &test), "       0  1\n  0 |  1  ·\n  1 |  1  1\n");
        assert!(worst(&split, &test, 1).starts_with("\n1, read 0 (80 %)\n"));
    }
}
